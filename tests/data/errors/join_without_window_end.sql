CREATE TABLE visits (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
INSERT INTO results
SELECT a.page, b.email
FROM CUMULATE(visits, seen, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE) AS a
JOIN CUMULATE(CHANGES(customer), create_date, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE) AS b ON a.window_start = b.window_start AND a.page = b.email;
