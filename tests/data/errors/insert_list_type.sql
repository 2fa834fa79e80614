INSERT INTO typed
SELECT window_start, store_id, array_agg(email) AS emails
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, store_id;
