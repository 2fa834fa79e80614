INSERT INTO results
SELECT window_start, count(*) AS n
FROM TABLE(SESSION(TABLE customer, DESCRIPTOR(create_date), INTERVAL '5' MINUTE))
GROUP BY window_start, window_end;
