-- name: raster_overviews
-- Smaller copies of a raster table, the smallest first: schema, table, column, factor.
SELECT o_table_schema, o_table_name, o_raster_column, overview_factor
FROM raster_overviews
WHERE r_table_schema = %(schema)s AND r_table_name = %(table)s AND r_raster_column = %(column)s
ORDER BY overview_factor DESC;

-- name: raster_sample
-- One raster of a table: coordinate system, width and height of its pixels in that system's units, bands.
SELECT s.srtext, abs(ST_PixelWidth(r.{raster})), abs(ST_PixelHeight(r.{raster})), ST_NumBands(r.{raster}),
    CASE WHEN s.srid IS NOT NULL THEN ST_AsBinary(ST_Transform(ST_ConvexHull(r.{raster}), 4326)) END,
    ST_SRID(r.{raster})
FROM {table} r LEFT JOIN spatial_ref_sys s ON s.srid = ST_SRID(r.{raster})
WHERE r.{raster} IS NOT NULL
LIMIT 1;

-- name: raster_tiles
-- The rasters of a box (web mercator, metres), the newest first, with their day; none of those that are too large.
WITH box AS MATERIALIZED (
    SELECT ST_Transform(ST_MakeEnvelope(%(minx)s, %(miny)s, %(maxx)s, %(maxy)s, 3857), %(srid)s::integer) AS ground
)
SELECT CASE WHEN ST_Width(r.{raster})::bigint * ST_Height(r.{raster}) <= %(most)s THEN ST_AsBinary(r.{raster}) END,
    {day}::text, ST_Width(r.{raster}), ST_Height(r.{raster})
FROM {table} r, box
WHERE ST_ConvexHull(r.{raster}) && box.ground
ORDER BY {day} DESC NULLS LAST
LIMIT %(rows)s;

-- name: raster_hulls
-- Where the rasters of a table lie, in degrees; one more than is wanted tells that there are too many.
SELECT ST_AsBinary(ST_Transform(ST_ConvexHull(r.{raster}), 4326))
FROM {table} r
WHERE r.{raster} IS NOT NULL
LIMIT %(rows)s;

-- name: note_offset
-- Take a look's offset into that of its place: a mean of the looks so far, in which old ones fade.
INSERT INTO imagery_offset AS o (source, x, y, east_m, north_m, spread_m, looks, first_look, last_look)
VALUES (%(source)s, %(x)s, %(y)s, %(east)s, %(north)s, 0, 1, %(now)s, %(now)s)
ON CONFLICT (source, x, y) DO UPDATE SET
    east_m = o.east_m + (excluded.east_m - o.east_m) / least(o.looks + 1, %(memory)s),
    north_m = o.north_m + (excluded.north_m - o.north_m) / least(o.looks + 1, %(memory)s),
    spread_m = o.spread_m
        + (sqrt((excluded.east_m - o.east_m) ^ 2 + (excluded.north_m - o.north_m) ^ 2) - o.spread_m)
        / least(o.looks + 1, %(memory)s),
    looks = o.looks + 1,
    last_look = excluded.last_look;

-- name: read_offsets
-- The offsets of all places of one source, or of all sources.
SELECT source, x, y, east_m, north_m, spread_m, looks, first_look, last_look
FROM imagery_offset
WHERE %(source)s::text IS NULL OR source = %(source)s
ORDER BY source, y, x;
