-- The one frontend that is sent to, and how the ledger is cut into sources for it. Where this is not what is configured,
-- what is noted below is of another frontend, or cut another way.
CREATE TABLE osmose_frontend (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    url       text NOT NULL,
    analyser  text NOT NULL,
    country   text NOT NULL,            -- what the names of all sources begin with
    zoom      smallint NOT NULL         -- of the tiles that the area is cut into
);

-- A source: what the frontend knows as (analyser, country).
CREATE TABLE osmose_source (
    country   text PRIMARY KEY CHECK (country ~ '^[a-z_]+$'),
    region    text NOT NULL,                    -- tile of the web map as a quadkey with a..d for 0..3; '' is the world
    divided   boolean NOT NULL DEFAULT false,   -- its issues went to four smaller sources
    due       boolean NOT NULL DEFAULT true,    -- to be looked at, whether or not the outbox says so
    sent      timestamptz,                      -- timestamp of the last document that may have reached the frontend
    digest    text,                             -- of that document
    taken     timestamptz,                      -- timestamp of the last one that the frontend is known to have taken
    attempts  integer NOT NULL DEFAULT 0,       -- failures since then
    not_before timestamptz NOT NULL DEFAULT '-infinity',
    error     text                              -- of the last attempt
);

-- The classes that the frontend has from a source, or may have; what is not declared any more is to be emptied once.
CREATE TABLE osmose_class (
    country     text NOT NULL REFERENCES osmose_source (country) ON DELETE CASCADE,
    class       integer NOT NULL,
    declaration text NOT NULL,                  -- the <class> element
    PRIMARY KEY (country, class)
);

-- The source that a discrepancy belongs to, for as long as it lives: in another it would be another issue.
CREATE TABLE osmose_place (
    key     text PRIMARY KEY REFERENCES discrepancy (key) ON DELETE CASCADE,
    country text NOT NULL REFERENCES osmose_source (country) ON DELETE CASCADE
);
CREATE INDEX osmose_place_country ON osmose_place (country);

-- The issues that the frontend is known to have taken.
CREATE TABLE osmose_taken (
    country text NOT NULL REFERENCES osmose_source (country) ON DELETE CASCADE,
    key     text NOT NULL,
    class   integer NOT NULL,
    osm     text,                               -- "way/123", where it is about an element
    digest  bytea NOT NULL,                     -- of the <error> element
    PRIMARY KEY (country, key)
);
