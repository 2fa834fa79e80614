INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end
EMIT CHANGES EVERY '5 s';
