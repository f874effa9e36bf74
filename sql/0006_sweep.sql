-- Sweeps: looking at a whole area once, cell by cell. A cell is an aligned square of tiles; only some cells are in the
-- queue at a time, so that a country does not have to be.
--   running -> done;  running <-> stopped;  running | stopped -> replaced, when other tiles are asked for since
CREATE TYPE sweep_state AS ENUM ('running', 'stopped', 'done', 'replaced');

CREATE TABLE sweep (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason   dirty_reason NOT NULL CHECK (reason IN ('imagery', 'backfill')),
    source   text,                          -- the imagery that arrived; NULL: a back-fill
    z        smallint NOT NULL,             -- of the tiles
    side     smallint NOT NULL,             -- tiles along one side of a cell
    area     jsonb NOT NULL,                -- the area it was planned for
    state    sweep_state NOT NULL DEFAULT 'running',
    started  timestamptz NOT NULL,          -- what was looked at since is not looked at again
    ended    timestamptz,
    known_only boolean NOT NULL,            -- tiles that were never looked at are left out
    still_good timestamptz,                 -- tiles judged since then with this imagery of its present day are left out
    blank_since timestamptz,                -- tiles found without imagery since then are left out
    cells       integer NOT NULL DEFAULT 0,
    cells_done  integer NOT NULL DEFAULT 0,
    cells_blank integer NOT NULL DEFAULT 0, -- of those that are done, without any imagery
    tiles       bigint NOT NULL DEFAULT 0,
    tiles_done  bigint NOT NULL DEFAULT 0,  -- of the cells that are done
    recent   jsonb NOT NULL DEFAULT '[]',   -- [[seconds since 1970, tiles done by then], ...], the latest last
    CHECK ((reason = 'imagery') = (source IS NOT NULL)),
    CHECK ((state IN ('running', 'stopped')) = (ended IS NULL))
);
-- One at a time of each kind, and of each source of imagery.
CREATE UNIQUE INDEX sweep_open ON sweep (reason, coalesce(source, '')) WHERE ended IS NULL;

--   waiting -> queued -> done | no_imagery;  queued -> waiting when the sweep is stopped
CREATE TYPE cell_state AS ENUM ('waiting', 'queued', 'done', 'no_imagery');

CREATE TABLE sweep_cell (
    sweep  bigint NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
    x      integer NOT NULL,                -- its tiles: x * side .. (x + 1) * side - 1
    y      integer NOT NULL,
    state  cell_state NOT NULL DEFAULT 'waiting',
    tiles  integer NOT NULL,                -- how many of its tiles are meant
    mask   bytea,                           -- which, a bit each, row by row; NULL: all
    mapped timestamptz,                     -- mean time of the last edits of what is mapped there; NULL: nothing is
    place  integer,                         -- in the order of the work
    PRIMARY KEY (sweep, x, y)
);
CREATE INDEX sweep_cell_waiting ON sweep_cell (sweep, place) WHERE state = 'waiting';
CREATE INDEX sweep_cell_queued ON sweep_cell (sweep) WHERE state = 'queued';

-- The day the imagery was taken, NULL where it is not known.
ALTER TABLE looked_tile ADD COLUMN acquired date;

-- What of OSM the store was bootstrapped for: {detector: selection}; NULL: a store older than this column.
ALTER TABLE replication_state ADD COLUMN selection jsonb;
