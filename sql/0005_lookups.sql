-- What a change file needs not be looked up for: most of a minute of the planet happens elsewhere.

-- Nodes that the shape of a feature, or the place of a way, rests upon, and ways that an area relation refers to, while
-- the store does not have them: incomplete extracts, objects deleted too early, parts that come with a later change file.
-- What is neither stored nor here changes nothing that is: that is known without searching the big indexes. A few too
-- many do no harm.
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

-- Where an area is looked after: pages of 1024 node ids of which the store has or misses at least one, or did so once.
-- Small enough to be held in memory, where they tell in no time which nodes of a change file are worth a question.
CREATE TABLE osm_node_page (
    page bigint PRIMARY KEY                 -- node id >> 10
);

-- A new one with each page that is added: whoever holds the pages in memory knows by it whether they are all.
ALTER TABLE replication_state ADD COLUMN node_pages uuid NOT NULL DEFAULT gen_random_uuid();

INSERT INTO osm_node_page
SELECT ids.page
FROM (SELECT id >> 10 FROM osm_node UNION SELECT osm_id >> 10 FROM osm_missing WHERE osm_type = 'n') AS ids (page)
WHERE EXISTS (SELECT FROM replication_state WHERE NOT area ? 'world');
