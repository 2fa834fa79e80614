INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' CENTURY)
GROUP BY window_start, window_end;
