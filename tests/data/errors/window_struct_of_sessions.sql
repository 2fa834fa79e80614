CREATE TABLE visits (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
INSERT INTO results
SELECT w.start AS since, page, row_number() OVER (PARTITION BY w.start ORDER BY n DESC) AS place
FROM (SELECT session_window(seen, '5 minutes') AS w, page, count(*) AS n FROM visits GROUP BY w, page) AS sessions;
