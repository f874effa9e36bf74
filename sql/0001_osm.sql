-- The OSM store: raw objects of the area, and the features that detectors ask for.
--
-- Which raw objects are kept, with "inside" meaning within the area or its margin (everywhere, where there is no area):
--   nodes      that are inside, or belong to a kept way
--   ways       with a node inside, or that a kept relation refers to
--   relations  of type multipolygon or boundary that a detector asks for, with such a way among their members
-- So a change file may make a feature of old nodes and ways that meant nothing before.

-- Node locations in 1e-7 degrees.
CREATE TABLE osm_node (
    id      bigint PRIMARY KEY,
    changed timestamptz NOT NULL,
    lon     integer NOT NULL,
    lat     integer NOT NULL,
    version integer NOT NULL,               -- 0: the file did not say
    inside  boolean NOT NULL
);

-- Tags only where a detector asks for the way.
CREATE TABLE osm_way (
    id      bigint PRIMARY KEY,
    changed timestamptz NOT NULL,
    version integer NOT NULL,
    inside  boolean NOT NULL,
    tags    jsonb,
    nodes   bigint[] NOT NULL
);
CREATE INDEX osm_way_nodes ON osm_way USING gin (nodes) WITH (fastupdate = off);

-- members_* run in parallel; way_refs are the ways among them.
CREATE TABLE osm_relation (
    id           bigint PRIMARY KEY,
    changed      timestamptz NOT NULL,
    version      integer NOT NULL,
    tags         jsonb NOT NULL,
    member_types "char"[] NOT NULL,
    member_refs  bigint[] NOT NULL,
    member_roles text[] NOT NULL,
    way_refs     bigint[] NOT NULL
);
CREATE INDEX osm_relation_ways ON osm_relation USING gin (way_refs) WITH (fastupdate = off);

-- Objects that left the store, so that a change file read again does not bring back what a later one took away.
CREATE TABLE osm_gone (
    osm_type "char" NOT NULL CHECK (osm_type IN ('n', 'w', 'r')),
    osm_id   bigint NOT NULL,
    version  integer NOT NULL,
    gone     timestamptz NOT NULL,          -- of the change file; forgotten after some months
    PRIMARY KEY (osm_type, osm_id)
);
CREATE INDEX osm_gone_when ON osm_gone (gone);

-- What detectors see: one row an object, geometry as WKB in EPSG:4326, bbox as ((west, south), (east, north)).
CREATE TABLE osm_feature (
    osm_type "char" NOT NULL CHECK (osm_type IN ('w', 'r')),
    osm_id   bigint NOT NULL,
    version  integer NOT NULL,
    changed  timestamptz NOT NULL,          -- newest edit of the object or of what its geometry is made of
    tags     jsonb NOT NULL,
    geometry bytea NOT NULL,
    bbox     box NOT NULL,
    PRIMARY KEY (osm_type, osm_id)
);
CREATE INDEX osm_feature_bbox ON osm_feature USING gist (bbox);

-- Features that left the map: a deletion younger than the imagery is the mapper's word against it.
CREATE TABLE osm_removed (
    osm_type "char" NOT NULL CHECK (osm_type IN ('w', 'r')),
    osm_id   bigint NOT NULL,
    version  integer NOT NULL,              -- the last one that was a feature
    removed  timestamptz NOT NULL,
    tags     jsonb NOT NULL,
    geometry bytea NOT NULL,
    bbox     box NOT NULL,
    PRIMARY KEY (osm_type, osm_id)
);
CREATE INDEX osm_removed_bbox ON osm_removed USING gist (bbox);
