INSERT INTO results
SELECT window_start, store_id, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, store_id ORDER BY n DESC FETCH FIRST 3 ROWS WITH TIES;
