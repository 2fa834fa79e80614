INSERT INTO results
SELECT window_start, count(*) AS n
FROM SESSION(CHANGES(customer) PARTITION BY shop_id, create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
