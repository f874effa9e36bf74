-- name: lock_planning
-- One at a time plans sweeps.
SELECT pg_advisory_xact_lock(1835099491, 2);

-- name: add_sweep
-- Begin a sweep; its cells are still to come.
INSERT INTO sweep (reason, source, z, side, area, started, known_only, still_good, blank_since)
VALUES (%(reason)s, %(source)s, %(z)s, %(side)s, %(area)s, %(now)s, %(known_only)s, %(still_good)s, %(blank_since)s)
RETURNING id;

-- name: add_cells
-- Cells of a sweep that has just begun.
INSERT INTO sweep_cell (sweep, x, y, tiles, mask)
SELECT %(sweep)s, c.x, c.y, c.tiles, decode(c.mask, 'hex')
FROM unnest(%(xs)s::integer[], %(ys)s::integer[], %(tiles)s::integer[], %(masks)s::text[]) AS c (x, y, tiles, mask);

-- name: order_cells
-- The order of the work: where nothing is mapped first, then where what is mapped is oldest; neighbours together.
WITH mapped AS (
    SELECT floor((p.middle[0] + 180) / 360 * p.n)::integer AS x,
           floor((1 - asinh(tan(radians(greatest(least(p.middle[1], 85.05), -85.05)))) / pi()) / 2 * p.n)::integer AS y,
           to_timestamp(avg(extract(epoch FROM f.changed))) AS mean
    FROM osm_feature AS f,
         LATERAL (SELECT center(f.bbox) AS middle, power(2, %(z)s)::double precision / %(side)s AS n) AS p
    GROUP BY 1, 2
), ordered AS (
    SELECT c.x, c.y, m.mean, row_number() OVER (ORDER BY m.mean NULLS FIRST, c.y, c.x) AS place
    FROM sweep_cell AS c LEFT JOIN mapped AS m USING (x, y)
    WHERE c.sweep = %(sweep)s
)
UPDATE sweep_cell AS c SET mapped = o.mean, place = o.place
FROM ordered AS o
WHERE c.sweep = %(sweep)s AND c.x = o.x AND c.y = o.y;

-- name: count_cells
-- Write down how much there is to do.
UPDATE sweep SET (cells, tiles) = (
    SELECT count(*), coalesce(sum(c.tiles), 0) FROM sweep_cell AS c WHERE c.sweep = sweep.id
)
WHERE id = %(sweep)s;

-- name: analyse_cells
-- Renew the server's statistics of the cells.
ANALYZE sweep_cell;

-- name: sweeps
-- The newest sweep of each kind and source, open ones first, the more urgent first.
SELECT * FROM (
    SELECT DISTINCT ON (reason, coalesce(source, ''))
           id, reason::text, source, z, area, state::text, started, ended, known_only, still_good, blank_since,
           cells, cells_done, cells_blank, tiles, tiles_done, recent
    FROM sweep
    ORDER BY reason, coalesce(source, ''), id DESC
) AS newest
ORDER BY ended IS NOT NULL, reason::dirty_reason, id;

-- name: lock_sweep
-- The state of a sweep, which nobody else may change meanwhile.
SELECT state::text FROM sweep WHERE id = %(sweep)s FOR UPDATE;

-- name: swept_before
-- Whether there ever was a back-fill.
SELECT EXISTS (SELECT FROM sweep WHERE reason = 'backfill');

-- name: looked_cells
-- Cells that have tiles which were looked at.
SELECT DISTINCT x / %(side)s, y / %(side)s FROM looked_tile WHERE z = %(z)s ORDER BY 2, 1;

-- name: waiting_cells
-- The next cells of a sweep.
SELECT x, y, mask FROM sweep_cell
WHERE sweep = %(sweep)s AND state = 'waiting'
ORDER BY place
LIMIT %(limit)s;

-- name: sweeping_tiles
-- How many tiles of sweeps wait for their look.
SELECT count(*) FROM dirty_tile WHERE state <> 'dead' AND reason <> 'change';

-- name: due_tiles
-- Those of a cell's tiles that the sweep has to look at and that are not in the queue already.
SELECT w.x, w.y
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
JOIN sweep AS s ON s.id = %(sweep)s
LEFT JOIN looked_tile AS l ON l.z = s.z AND l.x = w.x AND l.y = w.y
LEFT JOIN dirty_tile AS d ON d.z = s.z AND d.x = w.x AND d.y = w.y AND d.state <> 'dead'
WHERE (d.x IS NULL OR (s.reason = 'imagery' AND d.state = 'leased'))
  AND CASE
    WHEN l.looked IS NULL THEN NOT s.known_only
    WHEN l.looked >= s.started THEN false
    WHEN l.result = 'no_imagery' THEN l.looked < coalesce(s.blank_since, 'infinity')
    WHEN s.reason = 'backfill' THEN true
    WHEN l.source = ANY (%(before)s::text[]) THEN false
    WHEN l.source = s.source AND l.acquired = %(acquired)s THEN l.looked < coalesce(s.still_good, 'infinity')
    ELSE true
  END;

-- name: queue_cells
-- These cells of a sweep have their tiles in the queue.
UPDATE sweep_cell AS c SET state = 'queued'
FROM unnest(%(xs)s::integer[], %(ys)s::integer[]) AS w (x, y)
WHERE c.sweep = %(sweep)s AND c.x = w.x AND c.y = w.y AND c.state = 'waiting';

-- name: finish_cells
-- Cells of which no tile is left in the queue are done; counts them in the sweep. Those without imagery say so.
WITH gone AS (
    SELECT c.x, c.y, s.side, s.z FROM sweep_cell AS c JOIN sweep AS s ON s.id = c.sweep
    WHERE c.sweep = %(sweep)s AND c.state = 'queued' AND NOT EXISTS (
        SELECT FROM generate_series(c.x * s.side, (c.x + 1) * s.side - 1) AS g (x)
        JOIN dirty_tile AS d ON d.z = s.z AND d.x = g.x AND d.y BETWEEN c.y * s.side AND (c.y + 1) * s.side - 1
        WHERE d.state IN ('queued', 'leased')
    )
), finished AS (
    UPDATE sweep_cell AS c SET state = CASE WHEN (
        SELECT bool_and(l.result = 'no_imagery')
        FROM generate_series(g.x * g.side, (g.x + 1) * g.side - 1) AS i (x)
        JOIN looked_tile AS l ON l.z = g.z AND l.x = i.x AND l.y BETWEEN g.y * g.side AND (g.y + 1) * g.side - 1
    ) THEN 'no_imagery' ELSE 'done' END::cell_state
    FROM gone AS g WHERE c.sweep = %(sweep)s AND c.x = g.x AND c.y = g.y
    RETURNING c.tiles, c.state
)
UPDATE sweep SET
    cells_done = cells_done + (SELECT count(*) FROM finished),
    cells_blank = cells_blank + (SELECT count(*) FROM finished WHERE state = 'no_imagery'),
    tiles_done = tiles_done + (SELECT coalesce(sum(tiles), 0) FROM finished)
WHERE id = %(sweep)s AND EXISTS (SELECT FROM finished);

-- name: end_if_done
-- A running sweep without a cell that waits or is in the queue is done.
UPDATE sweep AS s SET state = 'done', ended = %(now)s
WHERE s.id = %(sweep)s AND s.state = 'running'
  AND NOT EXISTS (SELECT FROM sweep_cell AS c WHERE c.sweep = s.id AND c.state IN ('waiting', 'queued'));

-- name: tiles_in_hand
-- Of the cells in the queue: how many tiles are meant, and how many of them are still there.
WITH cell AS (
    SELECT c.x, c.y, c.tiles, s.side, s.z FROM sweep_cell AS c JOIN sweep AS s ON s.id = c.sweep
    WHERE c.sweep = %(sweep)s AND c.state = 'queued'
)
SELECT (SELECT coalesce(sum(tiles), 0) FROM cell),
       (SELECT count(*) FROM cell AS c JOIN dirty_tile AS d
        ON d.z = c.z AND d.x / c.side = c.x AND d.y / c.side = c.y WHERE d.state <> 'dead');

-- name: note_progress
-- Remember how far a sweep was when.
UPDATE sweep SET recent = %(recent)s WHERE id = %(sweep)s;

-- name: take_back_tiles
-- Tiles that a sweep put into the queue and nobody has begun to look at leave it.
DELETE FROM dirty_tile AS d USING sweep AS s, sweep_cell AS c
WHERE s.id = %(sweep)s AND c.sweep = s.id AND c.state = 'queued'
  AND d.z = s.z AND d.x / s.side = c.x AND d.y / s.side = c.y AND d.state = 'queued' AND d.reason = s.reason;

-- name: take_back_cells
-- The cells of those tiles wait again.
UPDATE sweep_cell SET state = 'waiting' WHERE sweep = %(sweep)s AND state = 'queued';

-- name: set_sweep_state
-- Stop a sweep, let it go on, or end it in favour of another.
UPDATE sweep SET state = %(state)s::sweep_state, ended = %(ended)s WHERE id = %(sweep)s AND ended IS NULL;

-- name: drop_cells
-- What the cells of an ended sweep were does not matter any more.
DELETE FROM sweep_cell WHERE sweep = %(sweep)s;
