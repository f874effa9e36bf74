-- name: lock_osmose
-- Whether this transaction is the only one that sends to the frontend; until it ends.
SELECT pg_try_advisory_xact_lock(1835099491, 6);

-- name: osmose_frontend
-- The frontend that the other tables speak of, and how the ledger was cut for it.
SELECT url, analyser, country, zoom FROM osmose_frontend;

-- name: set_osmose_frontend
-- From now on they speak of this one.
INSERT INTO osmose_frontend (url, analyser, country, zoom) VALUES (%(url)s, %(analyser)s, %(country)s, %(zoom)s)
ON CONFLICT (one) DO UPDATE SET
    url = excluded.url, analyser = excluded.analyser, country = excluded.country, zoom = excluded.zoom;

-- name: forget_osmose_sources
-- Another frontend knows nothing of what the last one was sent.
DELETE FROM osmose_source;

-- name: forget_osmose_places
-- The ledger is to be cut anew; sources that get nothing more are emptied.
WITH gone AS (DELETE FROM osmose_place) UPDATE osmose_source SET due = true;

-- name: osmose_sources
-- All sources with the number of issues that belong to each, and that the frontend has.
SELECT s.country, s.region, s.divided, s.due, s.sent, s.digest, s.taken, s.attempts, s.not_before, s.error,
       (SELECT count(*) FROM osmose_place AS p JOIN discrepancy AS d USING (key)
        WHERE p.country = s.country AND d.state = 'published'),
       (SELECT count(*) FROM osmose_taken AS t WHERE t.country = s.country)
FROM osmose_source AS s ORDER BY s.country;

-- name: osmose_source
-- One source, held until the transaction ends.
SELECT country, region, divided, due, sent, digest, taken, attempts, not_before, error
FROM osmose_source WHERE country = %(country)s FOR UPDATE;

-- name: add_osmose_sources
-- Sources that something belongs to for the first time.
INSERT INTO osmose_source (country, region)
SELECT country, region FROM unnest(%(countries)s::text[], %(regions)s::text[]) AS s (country, region)
ON CONFLICT DO NOTHING;

-- name: divided_osmose_regions
-- Regions whose issues go to four smaller ones.
SELECT region FROM osmose_source WHERE divided;

-- name: placeless_osmose
-- What is shown and belongs to no source yet: the next of them.
SELECT d.key, d.lon, d.lat FROM discrepancy AS d
WHERE d.state = 'published' AND NOT EXISTS (SELECT 1 FROM osmose_place AS p WHERE p.key = d.key)
LIMIT %(limit)s;

-- name: place_osmose
-- Let discrepancies belong to sources.
INSERT INTO osmose_place (key, country)
SELECT key, country FROM unnest(%(keys)s::text[], %(countries)s::text[]) AS p (key, country)
ON CONFLICT DO NOTHING;

-- name: osmose_countries
-- The sources that discrepancies belong to; what belongs to none is left out.
SELECT key, country FROM osmose_place WHERE key = ANY(%(keys)s::text[]);

-- name: due_osmose_sources
-- The sources to look at, those of the smallest regions first: what was divided is emptied when its parts are there.
SELECT country, not_before, attempts, error FROM osmose_source
WHERE country = ANY(%(countries)s::text[]) OR due OR sent IS DISTINCT FROM taken OR taken < %(stale)s OR %(all)s
   OR taken IS NOT NULL AND %(classes)s::text[] IS DISTINCT FROM (
        SELECT array_agg(declaration ORDER BY class) FROM osmose_class AS c WHERE c.country = osmose_source.country)
ORDER BY length(region) DESC, country;

-- name: osmose_parts_wait
-- Whether a part of a divided region has something to say and was not taken yet, so that the whole has still to stand.
SELECT EXISTS (
    SELECT 1 FROM osmose_source AS s
    WHERE s.region LIKE %(region)s || '_%%' AND s.taken IS NULL AND NOT s.divided
      AND EXISTS (
        SELECT 1 FROM osmose_place AS p JOIN discrepancy AS d ON d.key = p.key
        WHERE p.country = s.country AND d.state = 'published' AND d.detector = ANY(%(detectors)s::text[])
          AND (d.hidden_until IS NULL OR d.hidden_until <= %(shown_at)s))
);

-- name: osmose_classes
-- The classes that the frontend has from a source, or may have.
SELECT class, declaration FROM osmose_class WHERE country = %(country)s ORDER BY class;

-- name: osmose_taken
-- The issues that the frontend is known to have from a source.
SELECT key, class, osm, digest FROM osmose_taken WHERE country = %(country)s;

-- name: osmose_issues
-- What a source has to say: shown, and hidden from nobody.
SELECT r.* FROM discrepancy_record AS r JOIN osmose_place AS p ON p.key = r.key
WHERE p.country = %(country)s AND r.state = 'published'
  AND (r.hidden_until IS NULL OR r.hidden_until <= %(shown_at)s)
  AND r.detector = ANY(%(detectors)s::text[])
ORDER BY r.key;

-- name: found_osmose
-- The frontend has a document of a source that nothing is known of here.
UPDATE osmose_source SET sent = %(sent)s WHERE country = %(country)s AND sent IS NULL;

-- name: send_osmose
-- Note a document before it goes out: whatever happens then, the frontend may have it.
UPDATE osmose_source SET sent = %(sent)s, digest = %(digest)s WHERE country = %(country)s;

-- name: may_have_osmose_classes
-- The classes of a document that goes out.
INSERT INTO osmose_class (country, class, declaration)
SELECT %(country)s, class, declaration FROM unnest(%(classes)s::int[], %(declarations)s::text[]) AS c (class, declaration)
ON CONFLICT DO NOTHING;

-- name: osmose_is_taken
-- The frontend has the document that went out last.
UPDATE osmose_source SET
    taken = sent, due = false, attempts = 0, not_before = '-infinity', error = NULL
WHERE country = %(country)s;

-- name: osmose_is_even
-- There is nothing that the frontend does not know.
UPDATE osmose_source SET due = false WHERE country = %(country)s AND due;

-- name: has_osmose_classes
-- The classes as the frontend has them now.
INSERT INTO osmose_class (country, class, declaration)
SELECT %(country)s, class, declaration FROM unnest(%(classes)s::int[], %(declarations)s::text[]) AS c (class, declaration)
ON CONFLICT (country, class) DO UPDATE SET declaration = excluded.declaration;

-- name: lost_osmose_classes
-- These were emptied, and are not declared again.
DELETE FROM osmose_class WHERE country = %(country)s AND class = ANY(%(classes)s::int[]);

-- name: has_osmose_issues
-- The frontend has these issues as they are now.
INSERT INTO osmose_taken (country, key, class, osm, digest)
SELECT %(country)s, key, class, osm, digest
FROM unnest(%(keys)s::text[], %(classes)s::int[], %(osm)s::text[], %(digests)s::bytea[]) AS t (key, class, osm, digest)
ON CONFLICT (country, key) DO UPDATE SET class = excluded.class, osm = excluded.osm, digest = excluded.digest;

-- name: lost_osmose_issues
-- The frontend has these issues no more.
DELETE FROM osmose_taken WHERE country = %(country)s AND key = ANY(%(keys)s::text[]);

-- name: osmose_failed
-- A document could not be sent, or was refused.
UPDATE osmose_source SET attempts = attempts + 1, not_before = %(not_before)s, error = %(error)s
WHERE country = %(country)s;

-- name: divide_osmose_source
-- Its issues are to go to four smaller sources.
UPDATE osmose_source SET divided = true, due = true WHERE country = %(country)s AND NOT divided RETURNING region;

-- name: displace_osmose
-- What belonged to a source belongs to none, until it is placed anew.
DELETE FROM osmose_place WHERE country = %(country)s;
