INSERT INTO results
SELECT DISTINCT store_id
FROM (SELECT window_start, store_id, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE) GROUP BY window_start, store_id);
