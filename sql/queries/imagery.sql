-- name: raster_overviews
-- Smaller copies of a raster table, the smallest first: schema, table, column, factor.
SELECT o_table_schema, o_table_name, o_raster_column, overview_factor
FROM raster_overviews
WHERE r_table_schema = %(schema)s AND r_table_name = %(table)s AND r_raster_column = %(column)s
ORDER BY overview_factor DESC;

-- name: raster_sample
-- One raster of each coordinate system among the first of a table: SRID, system, width and height of its pixels in that
-- system's units, bands, place. `told` is the SRID of those that have none.
WITH known AS (
    SELECT r.{raster} AS raster, coalesce(nullif(ST_SRID(r.{raster}), 0), %(told)s::integer, 0) AS srid
    FROM {table} r
    WHERE r.{raster} IS NOT NULL
    LIMIT %(rows)s
), one AS (SELECT DISTINCT ON (srid) raster, srid FROM known ORDER BY srid)
SELECT one.srid, s.srtext, abs(ST_PixelWidth(raster)), abs(ST_PixelHeight(raster)), ST_NumBands(raster),
    CASE WHEN s.srid IS NOT NULL
        THEN ST_AsBinary(ST_Transform(ST_SetSRID(ST_ConvexHull(raster), one.srid), 4326)) END
FROM one LEFT JOIN spatial_ref_sys s USING (srid);

-- name: raster_tiles
-- The rasters of a box (web mercator, metres), the newest first, with their day and system; none of those that are too
-- large. A box of one system says nothing about a raster of another.
WITH box AS MATERIALIZED (
    SELECT srid, ST_Transform(ST_MakeEnvelope(%(minx)s, %(miny)s, %(maxx)s, %(maxy)s, 3857), srid) AS ground
    FROM unnest(%(srids)s::integer[]) srid
)
SELECT CASE WHEN ST_Width(r.{raster})::bigint * ST_Height(r.{raster}) <= %(most)s THEN ST_AsBinary(r.{raster}) END,
    {day}::text, box.srid, ST_Width(r.{raster}), ST_Height(r.{raster})
FROM box JOIN {table} r ON ST_ConvexHull(r.{raster}) && box.ground
    AND coalesce(nullif(ST_SRID(r.{raster}), 0), %(told)s::integer, 0) = box.srid
ORDER BY {day} DESC NULLS LAST
LIMIT %(rows)s;

-- name: raster_hulls
-- Where the rasters of a table lie, in degrees; one more than is wanted tells that there are too many.
SELECT ST_AsBinary(ST_Transform(
    ST_SetSRID(ST_ConvexHull(r.{raster}), coalesce(nullif(ST_SRID(r.{raster}), 0), %(told)s::integer, 0)), 4326))
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
