INSERT INTO results
SELECT window_start, store_id AS revision, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, store_id
EMIT CHANGES;
