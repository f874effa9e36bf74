-- name: osm2pgsql_at_work
-- Whether an osm2pgsql writes right now. To be asked first in a transaction: its snapshot is taken with this question.
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND left(application_name, 9) = 'osm2pgsql' AND pid <> pg_backend_pid()
);

-- name: osm2pgsql_settle
-- Find PostGIS's functions, and use indexes: estimates for arrays are wide off the mark. No row where PostGIS is missing.
SELECT set_config('search_path', quote_ident(n.nspname) || ', pg_catalog', true),
    set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis';

-- name: osm2pgsql_slim_columns
-- The columns of the slim tables, and whether they may be read.
SELECT c.relname, a.attname, has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(names)s);

-- name: osm2pgsql_array_indexes
-- Inverted indexes of the slim tables: on columns, or on what a function of osm2pgsql makes of a column.
SELECT c.relname, pn.nspname, p.proname
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
    LEFT JOIN pg_depend d
        ON d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid AND d.refclassid = 'pg_proc'::regclass
    LEFT JOIN pg_proc p ON p.oid = d.refobjid
    LEFT JOIN pg_namespace pn ON pn.oid = p.pronamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(names)s) AND m.amname = 'gin' AND x.indisvalid
ORDER BY 1, 2, 3;

-- name: osm2pgsql_output_tables
-- Tables and views with geometry: its column, SRID and type, id columns that can be asked for, and what else matters.
SELECT c.relname, g.attname, postgis_typmod_srid(g.atttypmod), postgis_typmod_type(g.atttypmod),
    has_table_privilege(c.oid, 'SELECT'),
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'bigint'::regtype AND (
            c.relkind = 'v' OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND a.attnum = ANY(x.indkey))
        ) ORDER BY a.attnum
    ),
    EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'osm_type' AND NOT a.attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute g ON g.attrelid = c.oid AND g.attnum > 0 AND NOT g.attisdropped
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm') AND g.atttypid = 'geometry'::regtype
ORDER BY c.relname, g.attnum;

-- name: osm2pgsql_lowest_id
-- The lowest id of a table: where it holds any type of object without saying which, relations lie below -10^17.
SELECT min({id}) FROM {table};

-- name: osm2pgsql_state_tables
-- Where osm2pgsql and osm2pgsql-replication write down how far they are.
SELECT n.nspname, c.relname, has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY(%(names)s) AND n.nspname = ANY(%(schemas)s)
ORDER BY array_position(%(schemas)s::name[], n.nspname);

-- name: osm2pgsql_properties
-- What osm2pgsql 1.9 and later know about an import.
SELECT property, value FROM {table};

-- name: osm2pgsql_replication_status
-- What osm2pgsql-replication up to 1.8 knows.
SELECT url, sequence, importdate FROM {table};

-- name: osm2pgsql_ways_of_nodes
-- Ways that hold any of these nodes, with the node; the index asked is on the nodes themselves.
SELECT w.id, n.id FROM unnest(%(ids)s::bigint[]) AS n (id) JOIN {ways} w ON w.nodes @> ARRAY[n.id];

-- name: osm2pgsql_ways_of_nodes_by_bucket
-- Ways that hold any of these nodes, with the node; the index asked is on buckets of neighbouring node ids.
SELECT w.id, n.id FROM unnest(%(ids)s::bigint[]) AS n (id)
    JOIN {ways} w ON {bucket}(w.nodes) && {bucket}(ARRAY[n.id]) AND w.nodes @> ARRAY[n.id];

-- name: osm2pgsql_relations_of_ways
-- Relations with any of these ways among their members, with the way.
SELECT r.id, w.id FROM unnest(%(ids)s::bigint[]) AS w (id)
    JOIN {rels} r ON {member_ids}(r.members, 'W'::character(1)) @> ARRAY[w.id];

-- name: osm2pgsql_relations_of_ways_by_parts
-- The same in the older slim tables: parts are the ids of nodes, ways and relations, one kind after the other.
SELECT r.id, w.id FROM unnest(%(ids)s::bigint[]) AS w (id)
    JOIN {rels} r ON r.parts @> ARRAY[w.id] AND w.id = ANY(r.parts[r.way_off + 1:r.rel_off]);

-- name: osm2pgsql_objects
-- Tags of ways or relations, with version and time where osm2pgsql keeps them.
SELECT o.id, o.tags, {version}::integer, extract(epoch FROM {created}::timestamptz)::bigint
FROM {table} o WHERE o.id = ANY(%(ids)s::bigint[]);

-- name: osm2pgsql_newest_of_ways
-- The newest edit of the nodes of ways, where it is known of all of them.
SELECT w.id, extract(epoch FROM max(n.created))::bigint
FROM {ways} w JOIN {nodes} n ON n.id = ANY(w.nodes)
WHERE w.id = ANY(%(ids)s::bigint[]) GROUP BY w.id, w.nodes
HAVING count(n.created) = (SELECT count(DISTINCT u.id) FROM unnest(w.nodes) AS u (id));

-- name: osm2pgsql_newest_of_relations
-- The newest edit of the member ways of relations and of their nodes, where it is known of all of them.
SELECT r.id, extract(epoch FROM greatest(max(w.created), max(x.newest)))::bigint
FROM {rels} r CROSS JOIN LATERAL unnest({member_ids}(r.members, 'W'::character(1))) AS m (id)
    LEFT JOIN {ways} w ON w.id = m.id
    LEFT JOIN LATERAL (
        SELECT max(n.created) AS newest, count(n.created) AS dated FROM {nodes} n WHERE n.id = ANY(w.nodes)
    ) x ON true
WHERE r.id = ANY(%(ids)s::bigint[]) GROUP BY r.id
HAVING bool_and(w.created IS NOT NULL AND x.dated = (SELECT count(DISTINCT u.id) FROM unnest(w.nodes) AS u (id)));

-- name: osm2pgsql_nodes
-- Locations of nodes in 1e-7 degrees.
SELECT id, lon, lat FROM {nodes} WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id;

-- name: osm2pgsql_nodes_of_ways
-- The nodes of ways.
SELECT id, nodes FROM {ways} WHERE id = ANY(%(ids)s::bigint[]);

-- name: osm2pgsql_shapes
-- Rows of an output table by id, as WKB in EPSG:4326.
SELECT {type}::text, {id}, ST_AsBinary(ST_Transform({geometry}, 4326), 'NDR')
FROM {table} WHERE {id} = ANY(%(ids)s::bigint[]) AND {geometry} IS NOT NULL;

-- name: osm2pgsql_ids
-- Every object of an output table; within a box, where one is given.
SELECT DISTINCT {type}::text, {id} FROM {table}
WHERE {id} IS NOT NULL AND (%(west)s::float8 IS NULL OR {geometry} && ST_Transform(
    ST_Segmentize(ST_MakeEnvelope(%(west)s::float8, %(south)s::float8, %(east)s::float8, %(north)s::float8, 4326), 0.1),
    {srid}::integer
))
ORDER BY 2;

-- name: osm2pgsql_estimate
-- How many rows a query will give, as the planner sees it.
EXPLAIN (FORMAT json) {select};

-- name: drop_features_index
-- The index that slows down a load of features; index_features makes it again in the same transaction.
DROP INDEX osm_feature_bbox;

-- name: index_features
-- The other index of features that have just been loaded, and their statistics.
SET LOCAL maintenance_work_mem = '256MB';
CREATE INDEX osm_feature_bbox ON osm_feature USING gist (bbox);
ANALYZE osm_feature;

-- name: count_features
-- Features by type.
SELECT osm_type::text, count(*) FROM osm_feature GROUP BY 1;
