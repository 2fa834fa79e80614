INSERT INTO results
SELECT window_start, count(*) AS n
FROM CUMULATE(CHANGES(customer), create_date, INTERVAL '7' MINUTE, INTERVAL '1' HOUR)
GROUP BY window_start, window_end;
