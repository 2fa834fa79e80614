INSERT INTO results
SELECT window_start, count(*) AS n
FROM CUMULATE(CHANGES(customer), create_date, INTERVAL '1' DAY, INTERVAL '1' HOUR)
GROUP BY window_start, window_end;
