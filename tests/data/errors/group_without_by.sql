INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP window_start, window_end;
