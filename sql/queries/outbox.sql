-- name: open_channel
-- A way by which discrepancies reach people; one that is open already stays as it is.
INSERT INTO channel (name, opened) VALUES (%(channel)s, %(now)s) ON CONFLICT DO NOTHING RETURNING name;

-- name: fill_outbox
-- All that is shown now is news for a new channel.
INSERT INTO outbox (channel, key, not_before)
SELECT %(channel)s, key, %(now)s FROM discrepancy WHERE state = 'published'
ON CONFLICT DO NOTHING;

-- name: read_outbox
-- What is due to be told, the longest waiting first.
SELECT key, generation, attempts FROM outbox
WHERE channel = %(channel)s AND not_before <= %(now)s
ORDER BY not_before, key LIMIT %(limit)s;

-- name: note_in_outbox
-- Tell of these once more, whether or not anything changed.
INSERT INTO outbox (channel, key, not_before)
SELECT %(channel)s, key, %(not_before)s FROM unnest(%(keys)s::text[]) AS k (key)
ON CONFLICT (channel, key) DO UPDATE SET
    generation = outbox.generation + 1, not_before = least(outbox.not_before, excluded.not_before);

-- name: told
-- These were told as they were when they were read; what changed since stays.
DELETE FROM outbox AS o USING unnest(%(keys)s::text[], %(generations)s::bigint[]) AS t (key, generation)
WHERE o.channel = %(channel)s AND o.key = t.key AND o.generation = t.generation;

-- name: postpone
-- These could not be told now.
UPDATE outbox AS o SET
    attempts = o.attempts + 1, error = %(error)s,
    not_before = CASE WHEN o.generation = t.generation THEN %(not_before)s ELSE o.not_before END
FROM unnest(%(keys)s::text[], %(generations)s::bigint[]) AS t (key, generation)
WHERE o.channel = %(channel)s AND o.key = t.key;

-- name: count_outbox
-- What waits in each channel, and since the last failures why.
SELECT channel, count(*), count(*) FILTER (WHERE attempts > 0), max(error) FROM outbox GROUP BY channel ORDER BY channel;
