-- name: page_by_key
-- The next discrepancies after a key, in the order of keys; a filter that is NULL lets everything pass.
SELECT * FROM discrepancy_record
WHERE key > %(after)s
  AND state = ANY(%(states)s::discrepancy_state[])
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
  AND (%(detectors)s::text[] IS NULL OR detector = ANY(%(detectors)s::text[]))
  AND (%(closed_as)s::closed_reason[] IS NULL OR closed_as IS NULL OR closed_as = ANY(%(closed_as)s::closed_reason[]))
  AND (%(since)s::timestamptz IS NULL OR updated >= %(since)s)
  AND (%(west)s::float8 IS NULL OR bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s)))
  AND confidence >= %(min_confidence)s
ORDER BY key LIMIT %(limit)s;

-- name: page_by_place
-- As page_by_key, for a small box: found by place first, or the server might walk through all keys to fill a page.
WITH inside AS MATERIALIZED (
    SELECT key FROM discrepancy
    WHERE bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s)) AND key > %(after)s
)
SELECT r.* FROM inside JOIN discrepancy_record AS r USING (key)
WHERE state = ANY(%(states)s::discrepancy_state[])
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
  AND (%(detectors)s::text[] IS NULL OR detector = ANY(%(detectors)s::text[]))
  AND (%(closed_as)s::closed_reason[] IS NULL OR closed_as IS NULL OR closed_as = ANY(%(closed_as)s::closed_reason[]))
  AND (%(since)s::timestamptz IS NULL OR updated >= %(since)s)
  AND confidence >= %(min_confidence)s
ORDER BY key LIMIT %(limit)s;

-- name: reviews_of
-- All verdicts on one discrepancy, the oldest first.
SELECT verdict::text, reason, who, at, came_by FROM review WHERE key = %(key)s ORDER BY at, id;

-- name: cover_tiles
-- How many tiles of each cell were looked at, by result, and when last; cells are tiles of a lower zoom.
SELECT x >> %(levels)s, y >> %(levels)s, result::text, count(*), max(looked)
FROM looked_tile
WHERE z = %(z)s AND x BETWEEN %(left)s AND %(right)s AND y BETWEEN %(top)s AND %(bottom)s
GROUP BY 1, 2, 3;

-- name: cover_discrepancies
-- How many discrepancies lie in each cell, by state; a cell is the beginning of their place on the Z-order curve.
SELECT place >> %(shift)s, state::text, count(*)
FROM discrepancy
WHERE bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s))
GROUP BY 1, 2;

-- name: metric_verdicts
-- How many verdicts there are of each kind of discrepancy.
SELECT d.detector, d.kind, r.verdict::text, count(*)
FROM review AS r JOIN discrepancy AS d USING (key)
WHERE r.overturned IS NULL
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: metric_precision
-- Of the discrepancies whose latest verdict decides: how many a person agreed with, and how many are false.
SELECT d.detector, d.kind, count(*) FILTER (WHERE r.verdict <> 'false_positive'),
       count(*) FILTER (WHERE r.verdict = 'false_positive')
FROM (
    SELECT DISTINCT ON (key) key, verdict FROM review
    WHERE verdict IN ('fixed', 'already_fixed', 'false_positive') AND overturned IS NULL
    ORDER BY key, at DESC, id DESC
) AS r JOIN discrepancy AS d USING (key)
GROUP BY 1, 2 ORDER BY 1, 2;
