-- The feed: discrepancies under a name and at a place by which the server finds them quickly, however many there are.

-- Where a lon/lat lies along the Z-order curve through the web-mercator tiles of zoom 31 (62 bits, the row's bit before
-- the column's): the points of tile z/x/y are exactly those whose place begins with the tile's own 2 z bits. Latitudes
-- beyond the square of web mercator belong to its first and last row.
CREATE FUNCTION place_of(lon float8, lat float8) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    x bigint := greatest(0, least(2147483647, floor((lon + 180) / 360 * 2147483648)));
    y bigint := greatest(0, least(2147483647, floor(
        (1 - asinh(tan(radians(greatest(-89.9, least(89.9, lat))))) / pi()) / 2 * 2147483648
    )));
BEGIN
    -- A zero before each bit: 0b111 -> 0b10101.
    x := (x | (x << 16)) & x'0000ffff0000ffff'::bigint;
    x := (x | (x << 8)) & x'00ff00ff00ff00ff'::bigint;
    x := (x | (x << 4)) & x'0f0f0f0f0f0f0f0f'::bigint;
    x := (x | (x << 2)) & x'3333333333333333'::bigint;
    x := (x | (x << 1)) & x'5555555555555555'::bigint;
    y := (y | (y << 16)) & x'0000ffff0000ffff'::bigint;
    y := (y | (y << 8)) & x'00ff00ff00ff00ff'::bigint;
    y := (y | (y << 4)) & x'0f0f0f0f0f0f0f0f'::bigint;
    y := (y | (y << 2)) & x'3333333333333333'::bigint;
    y := (y | (y << 1)) & x'5555555555555555'::bigint;
    RETURN x | (y << 1);
END
$$;

-- uuid: the name of a discrepancy for Osmose's clients. Made of the key alone, so it stays, and is never used again.
ALTER TABLE discrepancy
    ADD COLUMN uuid uuid NOT NULL
        GENERATED ALWAYS AS (encode(substring(sha256(key::bytea) for 16), 'hex')::uuid) STORED,
    ADD COLUMN place bigint NOT NULL GENERATED ALWAYS AS (place_of(lon, lat)) STORED;
CREATE UNIQUE INDEX discrepancy_uuid ON discrepancy (uuid);

-- What each status of Osmose's API holds; who asks by "CASE 'open' WHEN 'open' THEN is_open ..." gets its index.
--   open   shown to people; what a person called done is not, until the map bears it out or its time is over
--   done   said to be done, and not borne out yet; or gone from the map's errors by itself
--   false  no error, a person said
CREATE VIEW feed AS
    SELECT place, uuid, key, lon, lat, detector, kind, osm, coalesce(closed, updated) AS dated,
           state = 'published' AND hidden_until IS NULL AS is_open,
           hidden_until IS NOT NULL OR closed_as = 'fixed' AS is_done,
           closed_as = 'false_positive' AS is_false
    FROM discrepancy;

-- The first answers lists, tiles, heat and counts without the table; its order is the order of all lists.
CREATE UNIQUE INDEX discrepancy_feed ON discrepancy (place, uuid) INCLUDE (lon, lat, detector, kind, key)
    WHERE state = 'published' AND hidden_until IS NULL;
CREATE INDEX discrepancy_feed_done ON discrepancy (place, uuid) WHERE hidden_until IS NOT NULL OR closed_as = 'fixed';
CREATE INDEX discrepancy_feed_false ON discrepancy (place, uuid) WHERE closed_as = 'false_positive';
