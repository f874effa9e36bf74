-- Where the store stands. One row: it moves in the same transaction as the store and the dirty tiles.
CREATE TABLE replication_state (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence     bigint,                 -- NULL: bootstrapped, start not yet found by timestamp
    timestamp    timestamptz,            -- of the data: state.txt of that sequence, or the PBF header
    bootstrapped timestamptz NOT NULL DEFAULT now(),
    area         jsonb NOT NULL          -- the area the store was made for; a daemon with another area is refused
);

-- One row a fact about the running daemon, read by `mapgap status`.
CREATE TABLE daemon_state (
    name    text PRIMARY KEY,
    value   jsonb NOT NULL,
    updated timestamptz NOT NULL DEFAULT now()
);
