-- name: lock_ledger
-- Let one transaction at a time change discrepancies: two neighbouring blocks cannot open twins, nor wait for each other.
SELECT pg_advisory_xact_lock(1835099491, 1);

-- name: discrepancies_around
-- All that is known around a box, or about given OSM objects, in any state.
SELECT * FROM discrepancy_record
WHERE detector = %(detector)s
  AND (bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s)) OR osm = ANY(%(osm)s::text[]))
ORDER BY key;

-- name: discrepancies_touched
-- The live discrepancies that any of the boxes touches, or that are about given OSM objects.
SELECT * FROM discrepancy_record
WHERE key IN (
    SELECT d.key
    FROM unnest(%(west)s::float8[], %(south)s::float8[], %(east)s::float8[], %(north)s::float8[]) AS b (w, s, e, n)
    JOIN discrepancy AS d ON d.bbox && box(point(b.w, b.s), point(b.e, b.n))
    WHERE d.state <> 'closed'
    UNION
    SELECT key FROM discrepancy WHERE osm = ANY(%(osm)s::text[]) AND state <> 'closed'
) AND (%(detector)s::text IS NULL OR detector = %(detector)s)
ORDER BY key;

-- name: discrepancies_by_key
-- The discrepancies of given keys.
SELECT * FROM discrepancy_record WHERE key = ANY(%(keys)s::text[]) ORDER BY key;

-- name: keys_taken
-- Which of the keys exist.
SELECT key FROM discrepancy WHERE key = ANY(%(keys)s::text[]);

-- name: open_discrepancies
-- Keep what is claimed for the first time.
INSERT INTO discrepancy (key, detector, kind, osm, confidence, shift_east_m, shift_north_m, geometry, bbox, lon, lat,
                         evidence, opened, updated, last_seen)
SELECT key, detector, kind, osm, confidence, east_m, north_m, geometry, box(point(w, s), point(e, n)), lon, lat,
       evidence::jsonb, %(now)s, %(now)s, %(now)s
FROM unnest(%(key)s::text[], %(detector)s::text[], %(kind)s::text[], %(osm)s::text[], %(confidence)s::float8[],
            %(east_m)s::float8[], %(north_m)s::float8[], %(geometry)s::bytea[], %(west)s::float8[], %(south)s::float8[],
            %(east)s::float8[], %(north)s::float8[], %(lon)s::float8[], %(lat)s::float8[], %(evidence)s::text[])
     AS c (key, detector, kind, osm, confidence, east_m, north_m, geometry, w, s, e, n, lon, lat, evidence);

-- name: change_discrepancies
-- Take over from new claims what readers of an export can see; what was closed opens again.
UPDATE discrepancy AS d SET
    state = CASE d.state WHEN 'closed' THEN 'open' ELSE d.state END,
    closed_as = NULL, closed = NULL, closed_sequence = NULL,
    osm = c.osm, confidence = c.confidence, shift_east_m = c.east_m, shift_north_m = c.north_m,
    geometry = c.geometry, bbox = box(point(c.w, c.s), point(c.e, c.n)), lon = c.lon, lat = c.lat,
    evidence = c.evidence::jsonb, updated = %(now)s
FROM unnest(%(key)s::text[], %(detector)s::text[], %(kind)s::text[], %(osm)s::text[], %(confidence)s::float8[],
            %(east_m)s::float8[], %(north_m)s::float8[], %(geometry)s::bytea[], %(west)s::float8[], %(south)s::float8[],
            %(east)s::float8[], %(north)s::float8[], %(lon)s::float8[], %(lat)s::float8[], %(evidence)s::text[])
     AS c (key, detector, kind, osm, confidence, east_m, north_m, geometry, w, s, e, n, lon, lat, evidence)
WHERE d.key = c.key;

-- name: see_discrepancies
-- They were seen again; touches no index.
UPDATE discrepancy SET last_seen = greatest(last_seen, %(now)s), times_seen = times_seen + 1, missed = 0
WHERE key = ANY(%(keys)s::text[]);

-- name: hand_over_discrepancies
-- Seen by the block next to the one that owned them: from now on that one owns them.
UPDATE discrepancy AS d SET lon = c.lon, lat = c.lat
FROM unnest(%(keys)s::text[], %(lon)s::float8[], %(lat)s::float8[]) AS c (key, lon, lat)
WHERE d.key = c.key;

-- name: miss_discrepancies
-- Not seen, but the neighbouring block may have them: doubted until the next look.
UPDATE discrepancy SET missed = missed + 1 WHERE key = ANY(%(keys)s::text[]);

-- name: lock_discrepancies
-- State of the given discrepancies, held until the transaction ends.
SELECT key, state, closed_as FROM discrepancy WHERE key = ANY(%(keys)s::text[]) ORDER BY key FOR UPDATE;

-- name: set_discrepancy_state
-- Carry out a change of state that was found legal.
UPDATE discrepancy SET
    state = %(state)s::discrepancy_state,
    closed_as = %(closed_as)s::closed_reason,
    closed = CASE WHEN %(state)s = 'closed' THEN %(now)s::timestamptz END,
    closed_sequence = CASE WHEN %(state)s = 'closed' THEN %(sequence)s::bigint END,
    updated = %(now)s,
    missed = 0,
    hidden_until = CASE WHEN %(state)s = 'published' THEN hidden_until END
WHERE key = ANY(%(keys)s::text[]);

-- name: write_history
-- One event for each key, with the state as it is now; every channel will be told.
WITH happening AS (
    INSERT INTO discrepancy_history (key, at, event, state, closed_as, sequence, detail)
    SELECT d.key, %(now)s, %(event)s::discrepancy_event, d.state, d.closed_as, %(sequence)s, e.detail::jsonb
    FROM unnest(%(keys)s::text[], %(details)s::text[]) WITH ORDINALITY AS e (key, detail, place)
    JOIN discrepancy AS d ON d.key = e.key
    ORDER BY e.place
    RETURNING key
)
INSERT INTO outbox (channel, key, not_before)
SELECT DISTINCT channel.name, happening.key, %(now)s::timestamptz FROM channel, happening
ON CONFLICT (channel, key) DO UPDATE SET
    generation = outbox.generation + 1, attempts = 0, error = NULL,
    not_before = least(outbox.not_before, excluded.not_before);

-- name: read_history
-- The life of one discrepancy, from first sight on.
SELECT at, event, state, closed_as, sequence, detail FROM discrepancy_history WHERE key = %(key)s ORDER BY id;

-- name: stale_discrepancies
-- Live discrepancies that were not seen since a moment.
SELECT key FROM discrepancy WHERE state <> 'closed' AND last_seen < %(older_than)s ORDER BY key;

-- name: count_discrepancies
-- How many there are of each detector, kind, state and reason of closing.
SELECT detector, kind, state, closed_as, count(*) FROM discrepancy
GROUP BY detector, kind, state, closed_as ORDER BY detector, kind, state, closed_as;

-- name: return_hidden_discrepancies
-- The time is over within which the map would have shown that they were fixed.
UPDATE discrepancy SET hidden_until = NULL, updated = %(now)s WHERE hidden_until <= %(now)s RETURNING key;

-- name: record_review
-- Keep a verdict with what it judged; one that was told before is not kept twice.
INSERT INTO review (key, verdict, reason, who, at, came_by, detail, heard, model, confidence)
SELECT key, %(verdict)s::verdict, %(reason)s, %(who)s, %(at)s, %(came_by)s, %(detail)s::jsonb, %(heard)s,
       evidence ->> 'model', confidence
FROM discrepancy WHERE key = %(key)s
ON CONFLICT DO NOTHING
RETURNING id;

-- name: hide_discrepancy
-- A person says that it was fixed: nobody is asked about it until then.
UPDATE discrepancy SET hidden_until = %(until)s, updated = %(now)s WHERE key = %(key)s AND state <> 'closed';
