-- The queue of dirty tiles: at most one row a tile.
--   queued -> leased -> (row removed | queued again | dead);  dead -> queued when it changes again or is revived
CREATE TYPE tile_state AS ENUM ('queued', 'leased', 'dead');

-- Why a tile is looked at, the most urgent first: the order of the enum is the order of the work.
CREATE TYPE dirty_reason AS ENUM ('change', 'imagery', 'backfill');

CREATE TABLE dirty_tile (
    z          smallint NOT NULL,
    x          integer NOT NULL,
    y          integer NOT NULL,
    state      tile_state NOT NULL DEFAULT 'queued',
    generation bigint NOT NULL DEFAULT 1,   -- rises with each change: a lease that saw an older one does not finish it
    sequence   bigint,                      -- newest change file that touched it; NULL for back-fill
    reason     dirty_reason NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    not_before timestamptz NOT NULL,        -- debounce and retry
    attempts   smallint NOT NULL DEFAULT 0, -- looks that failed
    lost       smallint NOT NULL DEFAULT 0, -- workers that vanished while they looked
    worker     text,
    leased_until timestamptz,
    error      text,                        -- of the last failure
    PRIMARY KEY (z, x, y),
    CHECK ((state = 'leased') = (worker IS NOT NULL)),
    CHECK ((state = 'leased') = (leased_until IS NOT NULL))
);
-- The order of the work: what has cost no worker first, then the most urgent, the oldest, the nearest in space.
CREATE INDEX dirty_tile_queue ON dirty_tile (lost, reason, first_seen, z, y, x) WHERE state = 'queued';
CREATE INDEX dirty_tile_leased ON dirty_tile (leased_until) WHERE state = 'leased';
CREATE INDEX dirty_tile_dead ON dirty_tile (last_seen) WHERE state = 'dead';

-- What became of each tile when it was last looked at.
CREATE TYPE look_result AS ENUM ('judged', 'no_imagery');

CREATE TABLE looked_tile (
    z       smallint NOT NULL,
    x       integer NOT NULL,
    y       integer NOT NULL,
    result  look_result NOT NULL,
    looked  timestamptz NOT NULL,
    source  text,
    model   text,
    PRIMARY KEY (z, x, y)
);
