INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), created, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
