INSERT INTO results
SELECT window_start, store_id, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY ROLLUP (window_start, window_end, store_id);
