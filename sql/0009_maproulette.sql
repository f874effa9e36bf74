-- What is known of MapRoulette: a memory of what was told and read there. All of it can be had again from the ledger and
-- the server, so that losing it costs a comparison, and no task twice.

-- The server, the project and the account that all below belongs to; one row.
CREATE TABLE maproulette_server (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    url        text NOT NULL,
    project    text NOT NULL,           -- its name
    project_id bigint,                  -- NULL: neither found nor made yet
    opened     bigint,                  -- the task that we have open there, or had when we were killed
    compared   timestamptz              -- when everything was last compared with the server
);

CREATE TYPE maproulette_step AS ENUM ('intended', 'made', 'ready', 'open');

-- Challenges: one a detector, kind, way of cooperating, and part (a full one is followed by the next).
--   intended -> made (disabled, on the server) -> ready (marked so; being filled) -> open (people see it)
CREATE TABLE maproulette_challenge (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    detector    text NOT NULL,
    kind        text NOT NULL,
    cooperative smallint NOT NULL CHECK (cooperative IN (0, 2)),   -- MapRoulette's number: 0 none, 2 change file
    part        smallint NOT NULL DEFAULT 1,
    name        text NOT NULL,
    remote      bigint UNIQUE,          -- its id there; NULL: about to be made, whether it was is in doubt
    step        maproulette_step NOT NULL DEFAULT 'intended',
    digest      text,                   -- of the settings it has there
    total       integer NOT NULL DEFAULT 0,   -- tasks that the server counted, of every status
    data_origin timestamptz,            -- of the map, as told there
    checked     timestamptz,            -- when it was last seen not to be archived
    paused      timestamptz,            -- since when it gets no new tasks; NULL: it does
    pause_reason text,
    pause_models text,                  -- what the claims were made by when it was paused
    UNIQUE (detector, kind, cooperative, part)
);

-- Tasks: at most one a discrepancy.
CREATE TABLE maproulette_task (
    key       text PRIMARY KEY REFERENCES discrepancy (key) ON DELETE CASCADE,
    challenge integer NOT NULL REFERENCES maproulette_challenge (id) ON DELETE CASCADE,
    remote    bigint UNIQUE,            -- its id there; NULL: about to be made, whether it was is in doubt
    intended  timestamptz NOT NULL,     -- when it was chosen to be made
    tried     timestamptz,              -- when the server was last asked to make it
    digest    text,                     -- of the content it has there
    status    smallint,                 -- MapRoulette's number, as last seen or set; NULL: in doubt
    since     timestamptz,              -- when it was seen or set
    ours      boolean NOT NULL DEFAULT false,   -- we set it, nobody else
    elements  jsonb,                    -- {"way/1": 3, "node/5": 1}: versions in its change file, NULL without any
    CHECK ((remote IS NULL) = (status IS NULL))
);
CREATE INDEX maproulette_task_challenge ON maproulette_task (challenge, status);
CREATE INDEX maproulette_task_elements ON maproulette_task (key) WHERE elements IS NOT NULL;
