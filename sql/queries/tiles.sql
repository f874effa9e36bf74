-- name: mark_dirty
-- Put tiles into the queue; a tile that is there already changes generation, and a dead one lives again.
INSERT INTO dirty_tile AS known (z, x, y, reason, sequence, first_seen, last_seen, not_before)
SELECT %(z)s, t.x, t.y, %(reason)s::dirty_reason, %(sequence)s, %(now)s, %(now)s,
       %(now)s + make_interval(secs => least(%(debounce)s, %(debounce_most)s))
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS t (x, y)
ORDER BY t.x, t.y
ON CONFLICT (z, x, y) DO UPDATE SET
    state = CASE known.state WHEN 'dead' THEN 'queued' ELSE known.state END,
    generation = known.generation + 1,
    sequence = greatest(known.sequence, excluded.sequence),
    reason = least(known.reason, excluded.reason),
    first_seen = CASE known.state WHEN 'queued' THEN known.first_seen ELSE excluded.first_seen END,
    last_seen = excluded.last_seen,
    not_before = CASE
        WHEN known.state <> 'queued' THEN excluded.not_before
        WHEN known.attempts > 0 THEN greatest(known.not_before, excluded.not_before)
        ELSE least(%(now)s + make_interval(secs => %(debounce)s),
                   known.first_seen + make_interval(secs => %(debounce_most)s))
    END,
    attempts = CASE known.state WHEN 'dead' THEN 0 ELSE known.attempts END,
    lost = CASE known.state WHEN 'dead' THEN 0 ELSE known.lost END,
    error = CASE known.state WHEN 'dead' THEN NULL ELSE known.error END;

-- name: analyse_queue
-- Renew the server's statistics of the queue.
ANALYZE dirty_tile;

-- name: expire_leases
-- Take tiles back from workers that were silent for too long; one that has cost too many workers is put aside.
WITH silent AS (
    SELECT z, x, y FROM dirty_tile
    WHERE state = 'leased' AND leased_until <= %(now)s
    ORDER BY x, y
    FOR UPDATE SKIP LOCKED
)
UPDATE dirty_tile AS t SET
    state = CASE WHEN t.lost + 1 >= %(lost_most)s THEN 'dead' ELSE 'queued' END::tile_state,
    lost = t.lost + 1,
    error = format('worker %%s was silent past its lease (%%s lost on this tile so far)', t.worker, t.lost + 1),
    worker = NULL,
    leased_until = NULL
FROM silent AS s
WHERE t.z = s.z AND t.x = s.x AND t.y = s.y;

-- name: claim_blocks
-- Choose blocks with due tiles that nobody works on, and lock each against other choosers until the transaction ends.
WITH busy AS MATERIALIZED (
    SELECT DISTINCT z, x / %(side)s AS bx, y / %(side)s AS by FROM dirty_tile WHERE state = 'leased'
), due AS MATERIALIZED (
    SELECT z, x / %(side)s AS bx, y / %(side)s AS by, row_number() OVER () AS place
    FROM (
        SELECT z, x, y FROM dirty_tile AS t
        WHERE state = 'queued' AND not_before <= %(now)s
          AND NOT EXISTS (SELECT FROM busy AS b WHERE b.z = t.z AND b.bx = t.x / %(side)s AND b.by = t.y / %(side)s)
        ORDER BY lost, reason, first_seen, z, y, x
        LIMIT %(window)s
    ) AS first_due
), block AS MATERIALIZED (
    SELECT z, bx, by FROM due GROUP BY z, bx, by ORDER BY min(place)
)
SELECT z, bx, by FROM block
WHERE pg_try_advisory_xact_lock(1835099490, hashtext(z || '/' || bx || '/' || by))
LIMIT %(limit)s;

-- name: lease_tiles
-- Lease every due tile of the chosen blocks; a block that somebody else has leased since is left alone.
WITH wanted AS (
    SELECT t.x, t.y FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS t (x, y)
), busy AS MATERIALIZED (
    SELECT DISTINCT z, x / %(side)s AS bx, y / %(side)s AS by FROM dirty_tile WHERE state = 'leased'
), due AS (
    SELECT t.z, t.x, t.y
    FROM wanted AS w JOIN dirty_tile AS t ON t.z = %(z)s AND t.x = w.x AND t.y = w.y
    WHERE t.state = 'queued' AND t.not_before <= %(now)s
      AND NOT EXISTS (SELECT FROM busy AS b WHERE b.z = t.z AND b.bx = t.x / %(side)s AND b.by = t.y / %(side)s)
    ORDER BY t.x, t.y
    FOR UPDATE OF t SKIP LOCKED
)
UPDATE dirty_tile AS t SET
    state = 'leased',
    worker = %(worker)s,
    leased_until = %(now)s + make_interval(secs => %(lease)s)
FROM due AS d
WHERE t.z = d.z AND t.x = d.x AND t.y = d.y
RETURNING t.x, t.y, t.generation, t.attempts;

-- name: lock_leased
-- Lock the tiles of a lease that the worker still holds, always in the same order.
SELECT t.x, t.y, t.generation
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
JOIN dirty_tile AS t ON t.z = %(z)s AND t.x = w.x AND t.y = w.y
WHERE t.state = 'leased' AND t.worker = %(worker)s
ORDER BY t.x, t.y
FOR UPDATE OF t;

-- name: renew_leases
-- Prolong a lease that is still held.
UPDATE dirty_tile AS t SET leased_until = %(now)s + make_interval(secs => %(lease)s)
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
WHERE t.z = %(z)s AND t.x = w.x AND t.y = w.y AND t.state = 'leased' AND t.worker = %(worker)s;

-- name: remove_done_tiles
-- Take looked-at tiles out of the queue, unless they changed after they were leased.
DELETE FROM dirty_tile AS t
USING unnest(%(xs)s::integer[], %(ys)s::integer[], %(generations)s::bigint[]) AS w (x, y, generation)
WHERE t.z = %(z)s AND t.x = w.x AND t.y = w.y AND t.generation = w.generation
  AND t.state = 'leased' AND t.worker = %(worker)s;

-- name: unlease_tiles
-- Tiles of a lease go back into the queue; a look that succeeded (%(looked)s) forgets the failures before it.
UPDATE dirty_tile AS t SET
    state = 'queued', worker = NULL, leased_until = NULL,
    attempts = CASE WHEN %(looked)s THEN 0 ELSE t.attempts END,
    lost = CASE WHEN %(looked)s THEN 0 ELSE t.lost END,
    error = CASE WHEN %(looked)s THEN NULL ELSE t.error END
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
WHERE t.z = %(z)s AND t.x = w.x AND t.y = w.y AND t.state = 'leased' AND t.worker = %(worker)s;

-- name: fail_tiles
-- A look failed: the tiles rest, twice as long after each failure, and are put aside after the last try.
UPDATE dirty_tile AS t SET
    state = CASE WHEN t.attempts + 1 >= %(attempts_most)s THEN 'dead' ELSE 'queued' END::tile_state,
    attempts = t.attempts + 1,
    not_before = greatest(t.not_before, %(now)s + make_interval(
        secs => least(%(retry_after)s * power(2::double precision, t.attempts), %(retry_most)s))),
    error = %(error)s,
    worker = NULL,
    leased_until = NULL
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
WHERE t.z = %(z)s AND t.x = w.x AND t.y = w.y AND t.state = 'leased' AND t.worker = %(worker)s
RETURNING t.x, t.y, t.state = 'dead';

-- name: record_looks
-- Remember what became of each tile.
INSERT INTO looked_tile (z, x, y, result, looked, source, acquired, model)
SELECT %(z)s, t.x, t.y, t.result::look_result, %(now)s, %(source)s, %(acquired)s, %(model)s
FROM unnest(%(xs)s::integer[], %(ys)s::integer[], %(results)s::text[]) AS t (x, y, result)
ORDER BY t.x, t.y
ON CONFLICT (z, x, y) DO UPDATE SET
    result = excluded.result, looked = excluded.looked, source = excluded.source, acquired = excluded.acquired,
    model = excluded.model;

-- name: release_worker
-- All tiles of a worker that is known to be gone go back into the queue, at the end of it.
WITH held AS (
    SELECT z, x, y FROM dirty_tile WHERE state = 'leased' AND worker = %(worker)s ORDER BY x, y FOR UPDATE
)
UPDATE dirty_tile AS t SET
    state = CASE WHEN t.lost + 1 >= %(lost_most)s THEN 'dead' ELSE 'queued' END::tile_state,
    lost = t.lost + 1,
    error = format('worker %%s ended while looking (%%s lost on this tile so far)', t.worker, t.lost + 1),
    worker = NULL,
    leased_until = NULL
FROM held AS h
WHERE t.z = h.z AND t.x = h.x AND t.y = h.y;

-- name: count_tiles
-- Length of the queue by state, what is due, and since when the oldest tile waits.
SELECT count(*) FILTER (WHERE state = 'queued'),
       count(*) FILTER (WHERE state = 'queued' AND not_before <= coalesce(%(now)s::timestamptz, now())),
       count(*) FILTER (WHERE state = 'leased'),
       count(*) FILTER (WHERE state = 'dead'),
       min(first_seen) FILTER (WHERE state <> 'dead'),
       min(not_before) FILTER (WHERE state = 'queued')
FROM dirty_tile;

-- name: dead_tiles
-- Tiles that were put aside, the newest first, with the reason.
SELECT z, x, y, attempts, lost, last_seen, error FROM dirty_tile
WHERE state = 'dead' ORDER BY last_seen DESC, z, x, y LIMIT %(limit)s;

-- name: revive_tiles
-- Give tiles that were put aside a fresh start.
UPDATE dirty_tile SET state = 'queued', attempts = 0, lost = 0, error = NULL,
    not_before = coalesce(%(now)s::timestamptz, now())
WHERE state = 'dead';
