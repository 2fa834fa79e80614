INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' DAY, INTERVAL '1' MONTH)
GROUP BY window_start, window_end;
