-- name: overturn_review
-- Somebody took this verdict back.
UPDATE review SET overturned = %(at)s, overturned_by = %(who)s WHERE id = %(id)s AND overturned IS NULL
RETURNING key, verdict;

-- name: uphold_review
-- A verdict that was taken back holds after all.
UPDATE review SET overturned = NULL, overturned_by = NULL WHERE id = %(id)s AND overturned IS NOT NULL
RETURNING key, verdict;

-- name: verdict_stands
-- Whether anybody said so of a discrepancy, and it was not taken back.
SELECT FROM review WHERE key = %(key)s AND verdict = %(verdict)s::verdict AND overturned IS NULL LIMIT 1;

-- name: heard_upto
-- How far the feeds of MapRoulette were listened to.
SELECT feed, upto FROM maproulette_heard;

-- name: note_heard
-- A feed was listened to up to this moment.
INSERT INTO maproulette_heard (feed, upto) VALUES (%(feed)s, %(upto)s)
ON CONFLICT (feed) DO UPDATE SET upto = greatest(maproulette_heard.upto, excluded.upto);

-- name: told_by_tasks
-- The verdicts that these tasks of MapRoulette have told, the oldest first.
SELECT (detail ->> 'task')::bigint, id, key, verdict, at, overturned IS NULL FROM review
WHERE came_by = 'maproulette' AND detail ->> 'task' = ANY(%(tasks)s::text[]) ORDER BY at, id;

-- name: note_uncommented
-- The comments of a challenge are to be read.
INSERT INTO maproulette_uncommented (challenge) VALUES (%(challenge)s) ON CONFLICT DO NOTHING;

-- name: uncommented
-- Challenges whose comments are to be read.
SELECT challenge FROM maproulette_uncommented ORDER BY challenge;

-- name: commented
-- The comments of a challenge were read.
DELETE FROM maproulette_uncommented WHERE challenge = %(challenge)s;

-- name: keep_comments
-- Comments, each once; returns the tasks of those that are new.
INSERT INTO maproulette_comment (id, task, who, at, text)
SELECT * FROM unnest(%(ids)s::bigint[], %(tasks)s::bigint[], %(whos)s::text[], %(ats)s::timestamptz[], %(texts)s::text[])
ON CONFLICT (id) DO NOTHING
RETURNING task;

-- name: attach_comments
-- Put with the newest verdict of each of these tasks what was written about the task; it is the reason if none was given.
UPDATE review AS r SET
    detail = r.detail || jsonb_build_object('comments', c.comments), reason = coalesce(r.reason, c.last)
FROM (
    SELECT task, (array_agg(text ORDER BY id DESC))[1] AS last,
           jsonb_agg(jsonb_build_object('id', id, 'who', who, 'at', at, 'text', text) ORDER BY id) AS comments
    FROM maproulette_comment WHERE task = ANY(%(tasks)s::bigint[]) GROUP BY task
) AS c
WHERE r.id = (
    SELECT n.id FROM review AS n
    WHERE n.came_by = 'maproulette' AND n.detail ->> 'task' = c.task::text ORDER BY n.at DESC, n.id DESC LIMIT 1
);

-- name: forget_heard
-- Another server is listened to from now on: what was heard stays heard, and its tasks are no longer the server's.
WITH feeds AS (DELETE FROM maproulette_heard), comments AS (DELETE FROM maproulette_comment),
     waiting AS (DELETE FROM maproulette_uncommented)
UPDATE review SET detail = (detail - 'task') || jsonb_build_object('task_elsewhere', detail -> 'task')
WHERE came_by = 'maproulette' AND detail ? 'task';

-- name: tasks_made_since
-- How many tasks were chosen to be made since then.
SELECT count(*) FROM maproulette_task WHERE intended > %(since)s;

-- name: places_of_open_tasks
-- Where the tasks lie that wait for a mapper, or are about to be made.
SELECT d.lon, d.lat FROM maproulette_task t JOIN discrepancy d ON d.key = t.key
WHERE t.status IS NULL OR t.status IN (0, 3, 6);

-- name: challenge_verdicts
-- Fixed and false verdicts given in a challenge: on claims of its kind's newest model since it was last resumed; ever; and
-- those that the server had and we had not heard when it was resumed.
WITH newest AS (
    SELECT coalesce(evidence ->> 'model', '') AS model FROM discrepancy
    WHERE detector = %(detector)s AND kind = %(kind)s ORDER BY opened DESC, key LIMIT 1
), given AS (
    SELECT r.verdict, r.overturned IS NULL AND coalesce(r.model, '') = newest.model
               AND (s.at IS NULL OR r.heard > s.at) AS counts
    FROM review r CROSS JOIN newest LEFT JOIN maproulette_resumed s ON s.challenge = %(id)s
    WHERE r.came_by = 'maproulette' AND r.detail ->> 'challenge' = %(remote)s
)
SELECT count(*) FILTER (WHERE counts AND verdict = 'fixed'), count(*) FILTER (WHERE counts AND verdict = 'false_positive'),
       count(*) FILTER (WHERE verdict = 'fixed'), count(*) FILTER (WHERE verdict = 'false_positive'),
       coalesce((SELECT fixed FROM maproulette_resumed WHERE challenge = %(id)s), 0),
       coalesce((SELECT false_positive FROM maproulette_resumed WHERE challenge = %(id)s), 0)
FROM given;

-- name: pause_challenge
-- A challenge gets no new tasks from now on; what its kind's claims were made by is kept.
UPDATE maproulette_challenge AS c SET paused = %(now)s, pause_reason = %(reason)s, pause_models = (
    SELECT string_agg(DISTINCT coalesce(d.evidence ->> 'model', ''), E'\n') FROM discrepancy d
    WHERE d.detector = c.detector AND d.kind = c.kind
)
WHERE id = %(id)s;

-- name: models_since_pause
-- Models of live claims of a challenge's kind by which there were none when it was paused.
SELECT DISTINCT d.evidence ->> 'model' FROM discrepancy d, maproulette_challenge c
WHERE c.id = %(id)s AND d.detector = %(detector)s AND d.kind = %(kind)s AND d.state <> 'closed'
  AND d.evidence ->> 'model' IS NOT NULL
  AND d.evidence ->> 'model' <> ALL(string_to_array(coalesce(c.pause_models, ''), E'\n'))
ORDER BY 1;

-- name: resume_challenge
-- A paused challenge goes on.
WITH resumed AS (
    INSERT INTO maproulette_resumed (challenge, at, fixed, false_positive)
    VALUES (%(id)s, %(now)s, %(fixed)s, %(false)s)
    ON CONFLICT (challenge) DO UPDATE SET
        at = excluded.at, fixed = excluded.fixed, false_positive = excluded.false_positive
)
UPDATE maproulette_challenge SET paused = NULL, pause_reason = NULL, pause_models = NULL WHERE id = %(id)s;

-- name: read_reviews
-- Verdicts with what was judged, the oldest first; a filter that is NULL lets everything pass.
SELECT r.id, r.key, r.verdict, r.reason, r.who, r.at, r.came_by, r.heard, r.model, r.confidence, r.overturned,
       r.overturned_by, r.detail, d.detector, d.kind, d.osm, d.state, d.closed_as, d.evidence, d.geometry
FROM review r JOIN discrepancy d ON d.key = r.key
WHERE (%(keys)s::text[] IS NULL OR r.key = ANY(%(keys)s::text[]))
  AND (%(verdicts)s::text[] IS NULL OR r.verdict::text = ANY(%(verdicts)s::text[]))
  AND (%(kinds)s::text[] IS NULL OR d.kind = ANY(%(kinds)s::text[]))
  AND (%(detectors)s::text[] IS NULL OR d.detector = ANY(%(detectors)s::text[]))
  AND (%(who)s::text IS NULL OR r.who = %(who)s)
  AND (%(came_by)s::text IS NULL OR r.came_by = %(came_by)s)
  AND (%(since)s::timestamptz IS NULL OR r.at >= %(since)s)
ORDER BY r.at, r.id;

-- name: is_told
-- Whether somebody said so of a discrepancy already, by the same way, at whatever time.
SELECT FROM review
WHERE key = %(key)s AND verdict = %(verdict)s::verdict AND came_by = %(came_by)s AND who IS NOT DISTINCT FROM %(who)s
LIMIT 1;

-- name: standing_false_positives
-- Verdicts that call one discrepancy false, and that nobody took back.
SELECT id FROM review WHERE key = %(key)s AND verdict = 'false_positive' AND overturned IS NULL ORDER BY id;
