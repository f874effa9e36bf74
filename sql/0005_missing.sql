-- Nodes that a kept way refers to, and ways that a kept area relation refers to, while the store does not have them:
-- incomplete extracts, objects deleted too early, parts that come with a later change file. What is neither stored nor
-- here, nothing in the store refers to: that is known without searching the big indexes. A few too many do no harm.
CREATE TABLE osm_missing (
    osm_type "char" NOT NULL CHECK (osm_type IN ('n', 'w')),
    osm_id   bigint NOT NULL,
    PRIMARY KEY (osm_type, osm_id)
);

INSERT INTO osm_missing
SELECT DISTINCT 'n'::"char", ref FROM osm_way, unnest(nodes) AS ref
WHERE NOT EXISTS (SELECT FROM osm_node WHERE id = ref)
UNION ALL
SELECT DISTINCT 'w'::"char", ref FROM osm_relation, unnest(way_refs) AS ref
WHERE NOT EXISTS (SELECT FROM osm_way WHERE id = ref);
