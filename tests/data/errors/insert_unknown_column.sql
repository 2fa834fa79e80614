INSERT INTO typed (window_start, store, registrations)
SELECT window_start, store_id, count(*) AS registrations
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, store_id;
