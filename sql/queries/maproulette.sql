-- name: nodes_of_several_ways
-- Those of these nodes that more than one way of the store holds.
SELECT n.id FROM unnest(%(ids)s::bigint[]) AS n (id) JOIN osm_way w ON w.nodes @> ARRAY[n.id]
GROUP BY n.id HAVING count(*) > 1;

-- name: maproulette_server
-- The server, project and moment of the last full comparison that the rows below belong to.
SELECT url, project, project_id, opened, compared FROM maproulette_server;

-- name: set_maproulette_server
-- From now on, all that is known is of this server and project.
INSERT INTO maproulette_server (url, project) VALUES (%(url)s, %(project)s)
ON CONFLICT (single) DO UPDATE SET url = excluded.url, project = excluded.project, project_id = NULL, opened = NULL,
    compared = NULL;

-- name: set_maproulette_project
-- The project's id on the server.
UPDATE maproulette_server SET project_id = %(project_id)s;

-- name: set_maproulette_opened
-- The task that we have open on the server; NULL: none.
UPDATE maproulette_server SET opened = %(opened)s;

-- name: forget_maproulette
-- Forget all that was known of challenges and tasks: it was of another server or project.
DELETE FROM maproulette_challenge;

-- name: compared_maproulette
-- Everything was compared with the server.
UPDATE maproulette_server SET compared = %(now)s;

-- name: maproulette_challenges
-- All challenges, a part before the one that follows it.
SELECT id, detector, kind, cooperative, part, name, remote, step::text, digest, total, data_origin, checked, paused,
       pause_reason, (SELECT count(*) FROM maproulette_task t WHERE t.challenge = c.id AND t.remote IS NULL),
       (SELECT count(*) FROM maproulette_task t WHERE t.challenge = c.id AND t.remote IS NOT NULL)
FROM maproulette_challenge c ORDER BY detector, kind, cooperative, part;

-- name: intend_challenge
-- A challenge is about to be made.
INSERT INTO maproulette_challenge (detector, kind, cooperative, part, name)
VALUES (%(detector)s, %(kind)s, %(cooperative)s, %(part)s, %(name)s)
ON CONFLICT (detector, kind, cooperative, part) DO NOTHING;

-- name: set_challenge
-- What is known of a challenge on the server now.
UPDATE maproulette_challenge SET
    name = %(name)s, remote = %(remote)s, step = %(step)s::maproulette_step, digest = %(digest)s, total = %(total)s,
    data_origin = %(data_origin)s, checked = %(checked)s
WHERE id = %(id)s;

-- name: add_to_challenge
-- The challenge has more tasks now.
UPDATE maproulette_challenge SET total = total + %(more)s WHERE id = %(id)s;

-- name: forget_challenge
-- The server has this challenge no more, nor its tasks.
DELETE FROM maproulette_challenge WHERE id = %(id)s;

-- name: maproulette_tasks
-- What is known of the tasks of these discrepancies, and when people were last to be asked anew.
SELECT t.key, t.challenge, t.remote, t.intended, t.tried, t.digest, t.status, t.since, t.ours, t.elements,
       (SELECT max(h.at) FROM discrepancy_history h WHERE h.key = t.key AND h.event IN ('reopened', 'returned'))
FROM maproulette_task t WHERE t.key = ANY(%(keys)s::text[]);

-- name: maproulette_tasks_in
-- What is known of the tasks of one challenge.
SELECT key, challenge, remote, intended, tried, digest, status, since, ours, elements, NULL::timestamptz
FROM maproulette_task WHERE challenge = %(challenge)s;

-- name: intend_tasks
-- Tasks are about to be made; what is known already stays as it is.
INSERT INTO maproulette_task (key, challenge, intended)
SELECT key, %(challenge)s, %(now)s FROM unnest(%(keys)s::text[]) AS k (key)
ON CONFLICT (key) DO NOTHING;

-- name: try_tasks
-- The server is about to be asked to make these.
UPDATE maproulette_task SET tried = %(now)s WHERE key = ANY(%(keys)s::text[]) AND remote IS NULL;

-- name: set_tasks
-- What is known of tasks on the server now.
INSERT INTO maproulette_task AS m (key, challenge, remote, intended, digest, status, since, ours, elements)
SELECT t.key, t.challenge, t.remote, %(now)s, t.digest, t.status, t.since, t.ours, t.elements::jsonb
FROM unnest(%(keys)s::text[], %(challenges)s::integer[], %(remotes)s::bigint[], %(digests)s::text[],
            %(statuses)s::smallint[], %(sinces)s::timestamptz[], %(ours)s::boolean[], %(elements)s::text[])
     AS t (key, challenge, remote, digest, status, since, ours, elements)
JOIN discrepancy AS d ON d.key = t.key
ON CONFLICT (key) DO UPDATE SET
    challenge = excluded.challenge, remote = excluded.remote, digest = excluded.digest, status = excluded.status,
    since = excluded.since, ours = excluded.ours, elements = excluded.elements;

-- name: note_task_status
-- A task was seen to have a status that somebody else gave it.
UPDATE maproulette_task SET status = %(status)s, since = %(since)s, ours = false
WHERE key = %(key)s AND remote IS NOT NULL AND status IS DISTINCT FROM %(status)s;

-- name: forget_tasks
-- The server has these tasks no more.
DELETE FROM maproulette_task WHERE key = ANY(%(keys)s::text[]);

-- name: maproulette_candidates
-- What is shown to people and has no task yet, the surest first. None of it is hidden.
SELECT d.* FROM discrepancy_record d
WHERE d.state = ANY(%(states)s::discrepancy_state[]) AND d.confidence >= %(min_confidence)s
  AND (d.hidden_until IS NULL OR d.hidden_until <= %(now)s)
  AND (d.detector, d.kind) IN (SELECT * FROM unnest(%(detectors)s::text[], %(kinds)s::text[]))
  AND NOT EXISTS (SELECT FROM maproulette_task t WHERE t.key = d.key)
ORDER BY d.confidence DESC, d.key LIMIT %(limit)s;

-- name: outdated_elements
-- Open tasks whose content was made from OSM elements that have another version now, or are gone.
SELECT DISTINCT t.key
FROM maproulette_task t CROSS JOIN LATERAL jsonb_each_text(t.elements) AS e (ref, version)
LEFT JOIN osm_way w ON starts_with(e.ref, 'way/') AND w.id = split_part(e.ref, '/', 2)::bigint
LEFT JOIN osm_node n ON starts_with(e.ref, 'node/') AND n.id = split_part(e.ref, '/', 2)::bigint
WHERE t.elements IS NOT NULL AND t.status IN (0, 3, 6)
  AND coalesce(n.version, w.version) IS DISTINCT FROM e.version::integer
ORDER BY 1;

-- name: maproulette_is_known
-- Whether this database has the tables of these queries; an older one has not.
SELECT to_regclass('maproulette_task') IS NOT NULL;

-- name: maproulette_standing
-- Challenges with their tasks counted by what is known of them.
SELECT c.name, c.remote, c.step::text, c.total, c.paused, c.pause_reason,
       count(t.key) FILTER (WHERE t.status IN (0, 3, 6)), count(t.key) FILTER (WHERE t.remote IS NULL),
       count(t.key) FILTER (WHERE t.status NOT IN (0, 3, 6))
FROM maproulette_challenge c LEFT JOIN maproulette_task t ON t.challenge = c.id
GROUP BY c.id ORDER BY c.name;

-- name: maproulette_waiting
-- How many discrepancies are shown to people and have no task yet.
SELECT count(*) FROM discrepancy d
WHERE d.state = 'published' AND NOT EXISTS (SELECT FROM maproulette_task t WHERE t.key = d.key);

-- name: move_intended_tasks
-- What was about to be made in one challenge will be made in another.
UPDATE maproulette_task SET challenge = %(to)s WHERE challenge = %(from)s AND remote IS NULL;

-- name: published_in_challenge
-- The discrepancies that a challenge has tasks of, next after a key.
SELECT d.* FROM maproulette_task t JOIN discrepancy_record d ON d.key = t.key
WHERE t.challenge = %(challenge)s AND t.remote IS NOT NULL AND t.key > %(after)s
ORDER BY t.key LIMIT %(limit)s;

-- name: sources_of_challenge
-- How many claims of a challenge were made from which source of imagery.
SELECT d.evidence ->> 'imagery', count(*) FROM maproulette_task t JOIN discrepancy d ON d.key = t.key
WHERE t.challenge = %(challenge)s AND d.evidence ->> 'imagery' IS NOT NULL GROUP BY 1;
