-- name: export_discrepancies
-- What a feed holds, in the order of keys; a filter that is NULL lets everything pass.
SELECT * FROM discrepancy_record
WHERE state = ANY(%(states)s::discrepancy_state[])
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
  AND (%(detectors)s::text[] IS NULL OR detector = ANY(%(detectors)s::text[]))
  AND (%(closed_as)s::closed_reason[] IS NULL OR closed_as IS NULL OR closed_as = ANY(%(closed_as)s::closed_reason[]))
  AND (%(since)s::timestamptz IS NULL OR updated >= %(since)s)
  AND (%(shown_at)s::timestamptz IS NULL OR hidden_until IS NULL OR hidden_until <= %(shown_at)s)
  AND confidence >= %(min_confidence)s
  AND (%(west)s::float8 IS NULL
       OR bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s)))
ORDER BY key;

-- name: publishable_discrepancies
-- The next open discrepancies that are sure enough to be shown.
SELECT * FROM discrepancy_record WHERE state = 'open' AND confidence >= %(min_confidence)s ORDER BY key LIMIT %(limit)s;
