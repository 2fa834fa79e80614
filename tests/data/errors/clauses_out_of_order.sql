INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
HAVING count(*) > 1
GROUP BY window_start, window_end;
