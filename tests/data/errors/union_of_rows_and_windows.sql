CREATE TABLE visits (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
INSERT INTO results
SELECT page, 1 AS n FROM visits
UNION ALL
SELECT page, count(*) AS n FROM TUMBLE(visits, seen, INTERVAL '5' MINUTE) GROUP BY window_start, window_end, page;
