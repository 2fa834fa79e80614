INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer) PARTITION BY store_id, create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
