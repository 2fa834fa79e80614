INSERT INTO results
SELECT window_start, sum(n) AS n
FROM TUMBLE((SELECT window_time, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, window_time), window_time, INTERVAL '1' HOUR)
GROUP BY window_start, window_end
EMIT CHANGES;
