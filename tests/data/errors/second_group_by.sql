INSERT INTO results
SELECT date_trunc('day', window_start) AS day, sum(n) AS n
FROM (SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE) GROUP BY window_start)
GROUP BY date_trunc('day', window_start);
