-- name: verdicts_for_ranking
-- What people said of claims, as those were then; what was taken back is left out.
SELECT d.detector, d.kind, coalesce(r.confidence, d.confidence), d.lon, d.lat, coalesce(r.model, ''), r.verdict, r.at
FROM review r JOIN discrepancy d ON d.key = r.key
WHERE r.overturned IS NULL AND r.at >= %(since)s
ORDER BY r.at, r.id;

-- name: times_passed
-- How often each of these was passed on as too hard, or skipped.
SELECT key, count(*) FROM review
WHERE key = ANY(%(keys)s::text[]) AND verdict IN ('too_hard', 'skipped') AND overturned IS NULL GROUP BY key;

-- name: log_round
-- A choice among candidates was made.
INSERT INTO ranking_round (at, candidates, places, draws)
VALUES (%(at)s, %(candidates)s, %(places)s, %(draws)s) RETURNING id;

-- name: log_choices
-- What was chosen in a round, in the order of showing.
INSERT INTO ranking_choice (round, key, place, detector, kind, band, area, model, confidence, score, probability,
                            by_confidence)
SELECT %(round)s, key, place, detector, kind, band, area, model, confidence, score, probability, by_confidence
FROM unnest(%(keys)s::text[], %(detectors)s::text[], %(kinds)s::text[], %(bands)s::integer[], %(areas)s::text[],
            %(models)s::text[], %(confidences)s::float8[], %(scores)s::float8[], %(probabilities)s::float8[],
            %(by_confidence)s::integer[]) WITH ORDINALITY
     AS c (key, detector, kind, band, area, model, confidence, score, probability, by_confidence, place);

-- name: logged_choices
-- What was chosen, and the last verdict that people gave of it afterwards; NULL where they have not yet. What was decided
-- is told before what was passed on.
SELECT c.round, r.candidates, r.places, c.confidence, c.probability, c.by_confidence, v.verdict
FROM ranking_choice c JOIN ranking_round r ON r.id = c.round
LEFT JOIN LATERAL (
    SELECT verdict FROM review
    WHERE review.key = c.key AND review.at >= r.at AND review.overturned IS NULL
    ORDER BY verdict IN ('too_hard', 'skipped'), review.at DESC LIMIT 1
) AS v ON true
ORDER BY c.round, c.place;
