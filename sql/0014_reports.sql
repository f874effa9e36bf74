-- Reports: the map as a whole, measured cell by cell. One row a run, so that it can be seen how the map fills.
CREATE TABLE report_run (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    report   text NOT NULL,                 -- 'density', 'completeness'
    subject  text NOT NULL,                 -- what is compared: the same subject makes one history
    made     timestamptz NOT NULL,
    sequence bigint,                        -- newest change file in the store then
    data_of  timestamptz,                   -- time of the OSM data
    cells    integer NOT NULL,
    summary  jsonb NOT NULL                 -- the figures of the whole
);
CREATE INDEX report_run_subject ON report_run (report, subject, made);

CREATE TABLE report_cell (
    run      bigint NOT NULL REFERENCES report_run (id) ON DELETE CASCADE,
    name     text NOT NULL,                 -- "z/x/y", or the name of a polygon
    area_km2 double precision NOT NULL,
    mapped   double precision,              -- density: amount for each square kilometre; completeness: share, 0..1
    witness  double precision,              -- density only
    low      double precision,              -- completeness: interval of the share
    high     double precision,
    PRIMARY KEY (run, name)
);
