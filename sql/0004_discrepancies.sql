-- A discrepancy is one thing for its whole life.
--   open -> published -> closed;  closed -> open only with new evidence;  closed(false_positive) stays closed for ever
CREATE TYPE discrepancy_state AS ENUM ('open', 'published', 'closed');
CREATE TYPE closed_reason AS ENUM ('fixed', 'false_positive', 'withdrawn', 'stale');

CREATE TABLE discrepancy (
    key        text PRIMARY KEY CHECK (key ~ '^[a-z][a-z0-9_-]{6,60}$'),
    detector   text NOT NULL,
    kind       text NOT NULL,
    state      discrepancy_state NOT NULL DEFAULT 'open',
    closed_as  closed_reason,
    osm        text CHECK (osm ~ '^(node|way|relation)/[0-9]{1,18}$'),   -- NULL: about nothing on the map
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    shift_east_m  double precision,
    shift_north_m double precision,
    geometry   bytea NOT NULL,              -- WKB, EPSG:4326
    bbox       box NOT NULL,                -- ((west, south), (east, north))
    lon        double precision NOT NULL,   -- representative point: decides which block owns it
    lat        double precision NOT NULL,
    evidence   jsonb NOT NULL,
    opened     timestamptz NOT NULL,
    updated    timestamptz NOT NULL,        -- last change that a reader of an export can see
    last_seen  timestamptz NOT NULL,
    closed     timestamptz,
    closed_sequence bigint,                 -- change file that closed it, where one did
    times_seen integer NOT NULL DEFAULT 1,
    missed     smallint NOT NULL DEFAULT 0, -- looks in a row that did not see it, while the neighbour's could have
    CHECK ((state = 'closed') = (closed_as IS NOT NULL)),
    CHECK ((state = 'closed') = (closed IS NOT NULL)),
    CHECK ((shift_east_m IS NULL) = (shift_north_m IS NULL))
);
CREATE INDEX discrepancy_bbox ON discrepancy USING gist (bbox);
CREATE INDEX discrepancy_state_kind ON discrepancy (state, detector, kind);
CREATE INDEX discrepancy_osm ON discrepancy (osm) WHERE osm IS NOT NULL;
CREATE INDEX discrepancy_updated ON discrepancy (updated);
CREATE INDEX discrepancy_last_seen ON discrepancy (last_seen) WHERE state <> 'closed';

-- What the program reads of a discrepancy, in the order in which daemon/discrepancies/model.py takes it.
CREATE VIEW discrepancy_record AS
    SELECT key, detector, kind, state, closed_as, osm, confidence, shift_east_m, shift_north_m, geometry, lon, lat,
           evidence, opened, updated, last_seen, closed, closed_sequence, times_seen, missed, bbox
    FROM discrepancy;

-- Every change of state, in order.
CREATE TYPE discrepancy_event AS ENUM ('opened', 'seen', 'moved', 'published', 'closed', 'reopened', 'reviewed');

CREATE TABLE discrepancy_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL REFERENCES discrepancy (key),
    at         timestamptz NOT NULL,
    event      discrepancy_event NOT NULL,
    state      discrepancy_state NOT NULL,  -- after the event
    closed_as  closed_reason,
    sequence   bigint,                      -- change file that caused it, where one did
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX discrepancy_history_key ON discrepancy_history (key, id);

-- Verdicts of people.
CREATE TYPE verdict AS ENUM ('fixed', 'false_positive', 'already_fixed', 'too_hard', 'skipped');

CREATE TABLE review (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key      text NOT NULL REFERENCES discrepancy (key),
    verdict  verdict NOT NULL,
    reason   text,
    who      text,
    at       timestamptz NOT NULL,
    came_by  text NOT NULL                  -- "command line", "maproulette", "osmose", ...
);
-- The same verdict told twice (a feed read again) counts once.
CREATE UNIQUE INDEX review_once ON review (key, verdict, at, came_by, coalesce(who, ''));
