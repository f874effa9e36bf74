-- name: write_fact
-- Write down a fact about the running daemon.
INSERT INTO daemon_state (name, value, updated) VALUES (%(name)s, %(value)s, now())
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated = excluded.updated;

-- name: read_facts
-- Everything the daemon wrote down about itself.
SELECT name, value, updated FROM daemon_state;

-- name: give_back_all
-- What a worker has in hand goes back into the queue, as if it had never been taken.
UPDATE dirty_tile SET state = 'queued', worker = NULL, leased_until = NULL
WHERE state = 'leased' AND worker = %(worker)s;

-- name: status_position
-- Where the store stands; no row before the bootstrap. Read like this, a schema before 0007 will do, too.
SELECT sequence, timestamp, to_jsonb(r) ->> 'server' FROM replication_state r;

-- name: status_tiles
-- How many tiles are in each state of the queue.
SELECT state::text, count(*) FROM dirty_tile GROUP BY state;

-- name: status_dead
-- Why tiles were put aside, the most frequent reason first, each with one of its tiles.
SELECT coalesce(error, 'unknown'), count(*), min(z || '/' || x || '/' || y)
FROM dirty_tile WHERE state = 'dead' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10;

-- name: status_discrepancies
-- How many discrepancies there are of each detector, kind and state.
SELECT detector, kind, state::text, count(*) FROM discrepancy GROUP BY detector, kind, state ORDER BY 1, 2, 3;
