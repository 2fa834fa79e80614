INSERT INTO results
SELECT window_start, count(*) AS n
FROM SESSION(CHANGES(customer), create_date, INTERVAL '1' MONTH)
GROUP BY window_start, window_end;
