INSERT INTO results
SELECT window_start, count(*) AS views
FROM TUMBLE(clicks, seen, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
