INSERT INTO results
SELECT window_start, store_id, count(*) AS customers
FROM TUMBLE(customer, create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, store_id;
