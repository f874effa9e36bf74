-- name: feed_snapshot
-- One moment for all that an answer reads, which changes nothing; in the order of an index, and not sorted after a guess.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL enable_sort = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_seqscan = off;

-- name: feed_sequence
-- The newest line of the ledger's history: who saw it, saw all before, because writers take turns.
SELECT coalesce(max(id), 0) FROM discrepancy_history;

-- name: feed_page
-- Issues within stretches of the Z-order curve and their boxes, in its order, after a given one; stops at the limit.
SELECT f.place, f.uuid, f.key, f.lon, f.lat, f.detector, f.kind
FROM (
    SELECT * FROM unnest(
        %(low)s::bigint[], %(high)s::bigint[], %(west)s::float8[], %(south)s::float8[], %(east)s::float8[],
        %(north)s::float8[]
    ) WITH ORDINALITY AS s (low, high, west, south, east, north, number)
    ORDER BY number
) AS s CROSS JOIN LATERAL (
    SELECT place, uuid, key, lon, lat, detector, kind FROM feed
    WHERE CASE %(status)s WHEN 'open' THEN is_open WHEN 'done' THEN is_done ELSE is_false END
      AND place BETWEEN s.low AND s.high
      AND (place <> %(after_place)s OR uuid > %(after_uuid)s::uuid)  -- no stretch begins before that place
      AND lon BETWEEN s.west AND s.east AND lat BETWEEN s.south AND s.north
      AND detector || '/' || kind = ANY(%(kinds)s::text[])
      AND (%(start)s::timestamptz IS NULL OR dated >= %(start)s)
      AND (%(end)s::timestamptz IS NULL OR dated < %(end)s)
    ORDER BY place, uuid LIMIT %(offset)s + %(limit)s
) AS f
ORDER BY s.number, f.place, f.uuid
OFFSET %(offset)s LIMIT %(limit)s;

-- name: feed_count
-- How many issues there are within stretches of the curve and their boxes.
SELECT count(*)
FROM unnest(
    %(low)s::bigint[], %(high)s::bigint[], %(west)s::float8[], %(south)s::float8[], %(east)s::float8[],
    %(north)s::float8[]
) AS s (low, high, west, south, east, north)
JOIN feed AS f ON place BETWEEN s.low AND s.high AND lon BETWEEN s.west AND s.east AND lat BETWEEN s.south AND s.north
WHERE CASE %(status)s WHEN 'open' THEN is_open WHEN 'done' THEN is_done ELSE is_false END
  AND detector || '/' || kind = ANY(%(kinds)s::text[])
  AND (%(start)s::timestamptz IS NULL OR dated >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR dated < %(end)s);

-- name: feed_about
-- Issues about one OSM object, in the order of the curve.
SELECT place, uuid, key, lon, lat, detector, kind FROM feed
WHERE CASE %(status)s WHEN 'open' THEN is_open WHEN 'done' THEN is_done ELSE is_false END
  AND osm = %(osm)s AND detector || '/' || kind = ANY(%(kinds)s::text[])
  AND (%(start)s::timestamptz IS NULL OR dated >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR dated < %(end)s)
ORDER BY place, uuid;

-- name: feed_heat
-- Issues of one tile, counted by the squares that its place begins with.
SELECT place >> %(shift)s AS square, detector, kind, count(*) FROM feed
WHERE CASE %(status)s WHEN 'open' THEN is_open WHEN 'done' THEN is_done ELSE is_false END
  AND place BETWEEN %(low)s AND %(high)s
  AND detector || '/' || kind = ANY(%(kinds)s::text[])
GROUP BY square, detector, kind;

-- name: feed_totals
-- How many issues are shown of each kind.
SELECT detector, kind, count(*) FROM feed WHERE is_open GROUP BY detector, kind;

-- name: feed_name
-- Key and moment of one issue by its name, where it has this status.
SELECT key, dated FROM feed
WHERE CASE %(status)s WHEN 'open' THEN is_open WHEN 'done' THEN is_done ELSE is_false END
  AND uuid = %(uuid)s;

-- name: feed_lines
-- The next lines of the ledger's history after one: the last of them, how many, and whom they are about.
SELECT coalesce(max(id), %(since)s), count(*), coalesce(array_agg(DISTINCT key), '{}')
FROM (SELECT id, key FROM discrepancy_history WHERE id > %(since)s ORDER BY id LIMIT %(limit)s) AS line;

-- name: feed_standing
-- Of those that were ever shown: whether they are now.
SELECT d.uuid, d.key, d.state = 'published' AND d.hidden_until IS NULL
FROM discrepancy AS d
WHERE d.key = ANY(%(keys)s::text[])
  AND (d.state = 'published'
       OR EXISTS (SELECT FROM discrepancy_history AS h WHERE h.key = d.key AND h.event = 'published'))
ORDER BY d.place, d.uuid;
