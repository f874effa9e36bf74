-- name: store_area
-- The area that the store was made for; no row where nothing was bootstrapped.
SELECT area FROM replication_state;

-- name: read_position
-- Where the store stands.
SELECT sequence, "timestamp", server FROM replication_state;

-- name: set_position
-- Where the store stands now.
UPDATE replication_state SET sequence = %(sequence)s, timestamp = %(timestamp)s, server = %(server)s;

-- name: start_position
-- Where a fresh store stands.
INSERT INTO replication_state (sequence, timestamp, area, server)
VALUES (%(sequence)s, %(timestamp)s, %(area)s, %(server)s);

-- name: empty_store
-- Throw away what an earlier bootstrap loaded.
TRUNCATE osm_node, osm_way, osm_relation, osm_missing, osm_node_page, osm_gone, osm_feature, osm_removed, replication_state;

-- name: drop_store_indexes
-- The big tables are loaded quicker without indexes; all are made again in the same transaction.
ALTER TABLE osm_node DROP CONSTRAINT osm_node_pkey;
ALTER TABLE osm_way DROP CONSTRAINT osm_way_pkey;
ALTER TABLE osm_feature DROP CONSTRAINT osm_feature_pkey;
DROP INDEX osm_way_nodes, osm_relation_ways, osm_feature_bbox;

-- name: index_ways
-- Ways by id, for the relations that are assembled from them while loading.
SET LOCAL maintenance_work_mem = '256MB';
ALTER TABLE osm_way ADD CONSTRAINT osm_way_pkey PRIMARY KEY (id);

-- name: index_store
-- The other indexes of a store that has just been loaded, and its statistics.
SET LOCAL maintenance_work_mem = '256MB';
ALTER TABLE osm_node ADD CONSTRAINT osm_node_pkey PRIMARY KEY (id);
ALTER TABLE osm_feature ADD CONSTRAINT osm_feature_pkey PRIMARY KEY (osm_type, osm_id);
CREATE INDEX osm_way_nodes ON osm_way USING gin (nodes) WITH (fastupdate = off);
CREATE INDEX osm_relation_ways ON osm_relation USING gin (way_refs) WITH (fastupdate = off);
CREATE INDEX osm_feature_bbox ON osm_feature USING gist (bbox);
ANALYZE osm_node, osm_way, osm_relation, osm_feature;

-- name: load_nodes
-- Nodes in PostgreSQL's binary copy format.
COPY osm_node (id, changed, lon, lat, version, inside) FROM STDIN (FORMAT binary);

-- name: load_ways
-- Ways as text rows.
COPY osm_way (id, changed, version, inside, tags, nodes) FROM STDIN;

-- name: load_features
-- Features as text rows.
COPY osm_feature (osm_type, osm_id, version, changed, tags, geometry, bbox) FROM STDIN;

-- name: nodes_by_id
-- Nodes with these ids, sorted, all columns of fixed width.
SELECT id, changed, lon, lat, version, inside FROM osm_node WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id;

-- name: ways_by_id
-- Ways with these ids.
SELECT id, version, extract(epoch FROM changed)::bigint, tags, nodes, inside
FROM osm_way WHERE id = ANY(%(ids)s::bigint[]);

-- name: ways_with_nodes
-- Ways that hold any of these nodes. A join asks the index once a node, which stays quick for many of them.
SELECT DISTINCT w.id FROM unnest(%(ids)s::bigint[]) AS n (id) JOIN osm_way w ON w.nodes @> ARRAY[n.id];

-- name: relations_by_id
-- Relations with these ids, or with any of these ways among their members.
SELECT id, version, extract(epoch FROM changed)::bigint, tags, member_types::text[], member_refs, member_roles
FROM osm_relation WHERE id = ANY(%(ids)s::bigint[])
UNION
SELECT r.id, r.version, extract(epoch FROM r.changed)::bigint, r.tags, r.member_types::text[], r.member_refs, r.member_roles
FROM unnest(%(ways)s::bigint[]) AS w (id) JOIN osm_relation r ON r.way_refs @> ARRAY[w.id];

-- name: ways_held
-- Those of these ways that any other relation than these refers to.
SELECT DISTINCT w.id FROM unnest(%(ways)s::bigint[]) AS w (id) JOIN osm_relation r ON r.way_refs @> ARRAY[w.id]
WHERE r.id <> ALL(%(relations)s::bigint[]);

-- name: find_node_pages
-- After a bootstrap: the pages of all nodes, and of those that are missing.
INSERT INTO osm_node_page
SELECT id >> 10 FROM osm_node UNION SELECT osm_id >> 10 FROM osm_missing WHERE osm_type = 'n';

-- name: node_pages_token
-- Which state the pages of node ids are in.
SELECT node_pages::text FROM replication_state;

-- name: node_pages
-- All pages of node ids.
SELECT page FROM osm_node_page ORDER BY page;

-- name: add_node_pages
-- More pages of node ids.
INSERT INTO osm_node_page SELECT unnest(%(pages)s::bigint[]) ON CONFLICT DO NOTHING;

-- name: renew_node_pages_token
-- They are in another state.
UPDATE replication_state SET node_pages = gen_random_uuid() RETURNING node_pages::text;

-- name: missing
-- Those of these objects that the store lacks although something in it refers to them.
SELECT osm_id FROM osm_missing WHERE osm_type = %(type)s AND osm_id = ANY(%(ids)s::bigint[]);

-- name: put_missing
-- Something in the store refers to these objects, which it does not have.
INSERT INTO osm_missing (osm_type, osm_id) SELECT %(type)s, unnest(%(ids)s::bigint[]) ON CONFLICT DO NOTHING;

-- name: forget_missing
-- These objects are in the store now.
DELETE FROM osm_missing WHERE osm_type = %(type)s AND osm_id = ANY(%(ids)s::bigint[]);

-- name: find_missing_ways
-- After a bootstrap: the ways that relations refer to and the store does not have.
INSERT INTO osm_missing (osm_type, osm_id)
SELECT DISTINCT 'w'::"char", ref FROM osm_relation, unnest(way_refs) AS ref
WHERE NOT EXISTS (SELECT FROM osm_way WHERE id = ref);

-- name: gone_versions
-- In what version these objects left the store.
SELECT osm_id, version FROM osm_gone WHERE osm_type = %(type)s AND osm_id = ANY(%(ids)s::bigint[]);

-- name: put_nodes
-- Insert nodes, or bring them up to date.
INSERT INTO osm_node (id, changed, lon, lat, version, inside)
SELECT id, to_timestamp(changed), lon, lat, version, inside
FROM unnest(%(id)s::bigint[], %(changed)s::bigint[], %(lon)s::integer[], %(lat)s::integer[], %(version)s::integer[],
            %(inside)s::boolean[]) AS t (id, changed, lon, lat, version, inside)
ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, lon = excluded.lon, lat = excluded.lat,
    version = excluded.version, inside = excluded.inside;

-- name: put_ways
-- Insert ways, or bring them up to date.
INSERT INTO osm_way (id, changed, version, inside, tags, nodes)
SELECT id, to_timestamp(changed), version, inside, tags::jsonb, nodes::bigint[]
FROM unnest(%(id)s::bigint[], %(changed)s::bigint[], %(version)s::integer[], %(inside)s::boolean[], %(tags)s::text[],
            %(nodes)s::text[]) AS t (id, changed, version, inside, tags, nodes)
ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, version = excluded.version, inside = excluded.inside,
    tags = excluded.tags, nodes = excluded.nodes;

-- name: put_relations
-- Insert relations, or bring them up to date.
INSERT INTO osm_relation (id, changed, version, tags, member_types, member_refs, member_roles, way_refs)
SELECT (r->>0)::bigint, to_timestamp((r->>1)::bigint), (r->>2)::integer, r->3,
    ARRAY(SELECT m->>0 FROM jsonb_array_elements(r->4) WITH ORDINALITY AS e (m, n) ORDER BY n)::"char"[],
    ARRAY(SELECT (m->>1)::bigint FROM jsonb_array_elements(r->4) WITH ORDINALITY AS e (m, n) ORDER BY n),
    ARRAY(SELECT m->>2 FROM jsonb_array_elements(r->4) WITH ORDINALITY AS e (m, n) ORDER BY n),
    ARRAY(SELECT m::bigint FROM jsonb_array_elements_text(r->5) WITH ORDINALITY AS e (m, n) ORDER BY n)
FROM jsonb_array_elements(%(relations)s::jsonb) AS r
ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, version = excluded.version, tags = excluded.tags,
    member_types = excluded.member_types, member_refs = excluded.member_refs, member_roles = excluded.member_roles,
    way_refs = excluded.way_refs;

-- name: drop_nodes
-- Take nodes out of the store.
DELETE FROM osm_node WHERE id = ANY(%(ids)s::bigint[]);

-- name: drop_unused_nodes
-- Of these nodes, take out those that lie outside and that no way holds any more.
DELETE FROM osm_node n WHERE id = ANY(%(ids)s::bigint[]) AND NOT inside
    AND NOT EXISTS (SELECT FROM osm_way w WHERE w.nodes @> ARRAY[n.id]);

-- name: drop_ways
-- Take ways out of the store.
DELETE FROM osm_way WHERE id = ANY(%(ids)s::bigint[]);

-- name: drop_relations
-- Take relations out of the store.
DELETE FROM osm_relation WHERE id = ANY(%(ids)s::bigint[]);

-- name: put_gone
-- Remember in what version objects left the store.
INSERT INTO osm_gone (osm_type, osm_id, version, gone)
SELECT %(type)s, id, version, %(gone)s FROM unnest(%(ids)s::bigint[], %(versions)s::integer[]) AS t (id, version)
ON CONFLICT (osm_type, osm_id) DO UPDATE SET version = excluded.version, gone = excluded.gone;

-- name: forget_gone
-- These objects are back.
DELETE FROM osm_gone WHERE osm_type = %(type)s AND osm_id = ANY(%(ids)s::bigint[]);

-- name: forget_old_gone
-- Nobody reads change files again that are so old.
DELETE FROM osm_gone WHERE gone < %(before)s;

-- name: features_by_id
-- Features of the store by type and id.
SELECT osm_type::text, osm_id, version, extract(epoch FROM changed)::bigint, tags, geometry
FROM osm_feature
WHERE (osm_type = 'w' AND osm_id = ANY(%(ways)s::bigint[])) OR (osm_type = 'r' AND osm_id = ANY(%(relations)s::bigint[]));

-- name: features_in_bbox
-- Features whose bounding box meets a box. The index compares with a tolerance of 1e-6, the conditions after it exactly.
SELECT osm_type::text, osm_id, version, extract(epoch FROM changed)::bigint, tags, geometry
FROM osm_feature
WHERE bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s))
    AND (bbox[0])[0] >= %(west)s AND (bbox[0])[1] >= %(south)s AND (bbox[1])[0] <= %(east)s AND (bbox[1])[1] <= %(north)s
ORDER BY osm_type, osm_id;

-- name: removed_in_bbox
-- Removed features whose bounding box met a box, with the time when they left the map.
SELECT osm_type::text, osm_id, version, extract(epoch FROM removed)::bigint, tags, geometry
FROM osm_removed
WHERE bbox && box(point(%(west)s, %(south)s), point(%(east)s, %(north)s))
    AND (bbox[0])[0] >= %(west)s AND (bbox[0])[1] >= %(south)s AND (bbox[1])[0] <= %(east)s AND (bbox[1])[1] <= %(north)s
ORDER BY osm_type, osm_id;

-- name: put_features
-- Insert features, or bring them up to date.
INSERT INTO osm_feature (osm_type, osm_id, version, changed, tags, geometry, bbox)
SELECT type::"char", id, version, to_timestamp(changed), tags::jsonb, decode(geometry, 'hex'),
    box(point(west, south), point(east, north))
FROM unnest(%(type)s::text[], %(id)s::bigint[], %(version)s::integer[], %(changed)s::bigint[], %(tags)s::text[],
            %(geometry)s::text[], %(west)s::float8[], %(south)s::float8[], %(east)s::float8[], %(north)s::float8[])
    AS t (type, id, version, changed, tags, geometry, west, south, east, north)
ON CONFLICT (osm_type, osm_id) DO UPDATE SET version = excluded.version, changed = excluded.changed,
    tags = excluded.tags, geometry = excluded.geometry, bbox = excluded.bbox;

-- name: drop_features
-- Take features out, and remember when they left the map.
WITH gone AS (
    DELETE FROM osm_feature f
    USING unnest(%(type)s::text[], %(id)s::bigint[], %(removed)s::bigint[]) AS t (type, id, removed)
    WHERE f.osm_type = t.type::"char" AND f.osm_id = t.id
    RETURNING f.osm_type, f.osm_id, f.version, to_timestamp(t.removed) AS removed, f.tags, f.geometry, f.bbox
)
INSERT INTO osm_removed (osm_type, osm_id, version, removed, tags, geometry, bbox)
SELECT osm_type, osm_id, version, removed, tags, geometry, bbox FROM gone
ON CONFLICT (osm_type, osm_id) DO UPDATE SET version = excluded.version, removed = excluded.removed,
    tags = excluded.tags, geometry = excluded.geometry, bbox = excluded.bbox;

-- name: forget_removed
-- These features are back on the map.
DELETE FROM osm_removed r USING unnest(%(type)s::text[], %(id)s::bigint[]) AS t (type, id)
WHERE r.osm_type = t.type::"char" AND r.osm_id = t.id;
