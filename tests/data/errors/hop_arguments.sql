INSERT INTO results
SELECT window_start, count(*) AS n
FROM HOP(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
