-- name: add_report_run
-- Write down one run of a report.
INSERT INTO report_run (report, subject, made, sequence, data_of, cells, summary)
VALUES (%(report)s, %(subject)s, %(made)s, %(sequence)s, %(data_of)s, %(cells)s, %(summary)s::jsonb)
RETURNING id;

-- name: add_report_cells
-- What a run says of each cell.
INSERT INTO report_cell (run, name, area_km2, mapped, witness, low, high)
SELECT %(run)s, c.* FROM unnest(%(name)s::text[], %(area_km2)s::float8[], %(mapped)s::float8[], %(witness)s::float8[],
                                %(low)s::float8[], %(high)s::float8[]) AS c;

-- name: report_history
-- All runs of a subject, the oldest first.
SELECT made, sequence, data_of, cells, summary FROM report_run
WHERE report = %(report)s AND subject = %(subject)s ORDER BY made, id;

-- name: report_cells
-- What a run says of each cell.
SELECT name, area_km2, mapped, witness, low, high FROM report_cell WHERE run = %(run)s ORDER BY name;

-- name: report_correlation
-- Pearson's r and Spearman's rho of a run's cells with intervals (%(q)s: quantile of the normal distribution); the same
-- as detectors/correlation.py says.
WITH pair AS (
    SELECT witness AS x, mapped AS y FROM report_cell WHERE run = %(run)s AND witness IS NOT NULL AND mapped IS NOT NULL
), ranked AS (
    SELECT x, y,
           rank() OVER (ORDER BY x) + (count(*) OVER (PARTITION BY x) - 1) / 2.0::float8 AS rx,
           rank() OVER (ORDER BY y) + (count(*) OVER (PARTITION BY y) - 1) / 2.0::float8 AS ry
    FROM pair
), related AS (
    SELECT corr(y, x) AS r, corr(ry, rx) AS rho, count(*) AS n FROM ranked
)
SELECT n, r,
       CASE WHEN n > 3 AND abs(r) < 1 THEN tanh(atanh(r) - %(q)s::float8 / sqrt(n - 3)) END,
       CASE WHEN n > 3 AND abs(r) < 1 THEN tanh(atanh(r) + %(q)s::float8 / sqrt(n - 3)) END,
       rho,
       CASE WHEN n > 3 AND abs(rho) < 1 THEN tanh(atanh(rho) - %(q)s::float8 * sqrt((1 + rho * rho / 2) / (n - 3))) END,
       CASE WHEN n > 3 AND abs(rho) < 1 THEN tanh(atanh(rho) + %(q)s::float8 * sqrt((1 + rho * rho / 2) / (n - 3))) END
FROM related;

-- name: completeness_tiles
-- Looked-at tiles in each cell of a grid: (column, row, judged tiles, tiles without imagery).
SELECT x >> %(levels)s, y >> %(levels)s, count(*) FILTER (WHERE result = 'judged'),
       count(*) FILTER (WHERE result = 'no_imagery')
FROM looked_tile WHERE z = %(z)s GROUP BY 1, 2 ORDER BY 1, 2;

-- name: completeness_verdicts
-- What people said of each kind of a detector's claims: right ones and wrong ones, each discrepancy once.
SELECT d.kind,
       count(DISTINCT d.key) FILTER (WHERE r.verdict IN ('fixed', 'already_fixed')),
       count(DISTINCT d.key) FILTER (WHERE r.verdict = 'false_positive')
FROM review AS r JOIN discrepancy AS d ON d.key = r.key
WHERE d.detector = %(detector)s AND r.overturned IS NULL GROUP BY d.kind ORDER BY d.kind;
