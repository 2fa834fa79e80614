CREATE TABLE visits (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
CREATE VIEW minutes AS
SELECT window_start, window_end, page, count(*) AS views FROM TUMBLE(visits, seen, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, page;
INSERT INTO results
SELECT page, views FROM minutes WHERE views > (SELECT avg(views) FROM minutes);
