-- name: density_in_postgis
-- What `mapgap report density` measures, by PostGIS alone: of each area its square kilometres, how much of a quantity is
-- mapped for each of them, and the mean of a raster. In braces stand names of tables and columns:
--   {features}   lines or polygons as osm2pgsql writes them; {way}: their geometry, in any projection; {key}: the column
--                of the OSM key (highway, building)
--   {raster}     the table of the raster; {rast}: its column
-- and as parameters: names text[], shapes bytea[] (WKB in degrees), others text[] (values that do not count),
-- is_line boolean, scale (metres or square metres in one unit), band integer.
WITH area AS (
    SELECT name, geom, ST_Area(geom::geography) / 1e6 AS km2
    FROM unnest(%(names)s::text[], %(shapes)s::bytea[]) AS a (name, wkb),
         ST_SetSRID(ST_GeomFromWKB(a.wkb), 4326) AS geom
), amount AS (
    SELECT area.name,
           sum(CASE WHEN %(is_line)s THEN ST_Length(part::geography) ELSE ST_Area(part::geography) END) / %(scale)s AS sum
    FROM area
    JOIN {features} AS f ON f.{way} && ST_Transform(area.geom, ST_SRID(f.{way})),
         ST_CollectionExtract(
             ST_Intersection(ST_Transform(f.{way}, 4326), area.geom), CASE WHEN %(is_line)s THEN 2 ELSE 3 END
         ) AS part
    WHERE coalesce(f.{key}, 'no') <> ALL (%(others)s::text[]) AND NOT ST_IsEmpty(part)
    GROUP BY area.name
), light AS (
    SELECT area.name, sum((p).val * ST_Area(inside)) / nullif(sum(ST_Area(inside)), 0) AS mean
    FROM area
    JOIN {raster} AS r ON ST_Intersects(r.{rast}, ST_Transform(area.geom, ST_SRID(r.{rast}))),
         ST_PixelAsPolygons(
             ST_Clip(r.{rast}, %(band)s, ST_Envelope(ST_Buffer(
                 ST_Transform(area.geom, ST_SRID(r.{rast})), 2 * ST_PixelWidth(r.{rast})
             )), true), 1
         ) AS p,
         ST_Intersection((p).geom, ST_Transform(area.geom, ST_SRID(r.{rast}))) AS inside
    GROUP BY area.name
)
SELECT area.name, area.km2, coalesce(amount.sum, 0) / area.km2, light.mean
FROM area LEFT JOIN amount USING (name) LEFT JOIN light USING (name)
ORDER BY area.name;

-- name: correlation_in_postgis
-- Pearson's and Spearman's coefficient of the same, as the database computes them.
SELECT corr(mapped, light),
       (SELECT corr(y, x) FROM (
            SELECT rank() OVER (ORDER BY light) + (count(*) OVER (PARTITION BY light) - 1) / 2.0::float8,
                   rank() OVER (ORDER BY mapped) + (count(*) OVER (PARTITION BY mapped) - 1) / 2.0::float8
            FROM unnest(%(mapped)s::float8[], %(light)s::float8[]) AS c (mapped, light)
            WHERE mapped IS NOT NULL AND light IS NOT NULL
        ) AS ranked (x, y))
FROM unnest(%(mapped)s::float8[], %(light)s::float8[]) AS c (mapped, light);
