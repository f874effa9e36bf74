-- Channels: the ways by which discrepancies reach people and verdicts come back ("maproulette", "osmose").
CREATE TABLE channel (
    name   text PRIMARY KEY,
    opened timestamptz NOT NULL
);

-- What a channel has still to be told: at most one row a discrepancy and channel, written in the transaction that changed
-- the discrepancy, so that nothing is told which did not happen, and nothing that happened stays untold.
CREATE TABLE outbox (
    channel    text NOT NULL REFERENCES channel (name) ON DELETE CASCADE,
    key        text NOT NULL REFERENCES discrepancy (key) ON DELETE CASCADE,
    generation bigint NOT NULL DEFAULT 1,   -- rises with each change: who told an older one has not told this one
    not_before timestamptz NOT NULL,        -- retry
    attempts   smallint NOT NULL DEFAULT 0,
    error      text,                        -- of the last attempt
    PRIMARY KEY (channel, key)
);
CREATE INDEX outbox_due ON outbox (channel, not_before, key);

-- A person says that the map was corrected: until the map shows it, or until this moment, nobody is asked again.
ALTER TABLE discrepancy ADD COLUMN hidden_until timestamptz;

CREATE OR REPLACE VIEW discrepancy_record AS
    SELECT key, detector, kind, state, closed_as, osm, confidence, shift_east_m, shift_north_m, geometry, lon, lat,
           evidence, opened, updated, last_seen, closed, closed_sequence, times_seen, missed, bbox, hidden_until
    FROM discrepancy;

-- It was hidden, and the map still does not show that it was fixed.
ALTER TYPE discrepancy_event ADD VALUE 'returned';

-- What came with a verdict: {"tags": [...], "responses": {...}, "comments": [...], "task": id, ...}.
ALTER TABLE review ADD COLUMN detail jsonb NOT NULL DEFAULT '{}';
