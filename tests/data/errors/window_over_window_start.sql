CREATE TABLE visits (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
CREATE VIEW minutes AS
SELECT window_start, window_end, count(*) AS views FROM TUMBLE(visits, seen, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
INSERT INTO results
SELECT window_start, sum(views) AS views FROM TUMBLE(minutes, window_start, INTERVAL '1' HOUR) GROUP BY window_start, window_end;
