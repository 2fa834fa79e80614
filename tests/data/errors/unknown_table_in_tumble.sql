INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(click, seen, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
