INSERT INTO results
SELECT window_start,
       sum(email) AS total
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
