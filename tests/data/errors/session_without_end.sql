INSERT INTO results
SELECT window_start, store_id, count(*) AS n
FROM SESSION(CHANGES(customer) PARTITION BY store_id, create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, store_id;
