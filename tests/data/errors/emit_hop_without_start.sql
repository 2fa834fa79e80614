INSERT INTO results
SELECT window_end, count(*) AS n
FROM HOP(CHANGES(customer), create_date, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end
EMIT CHANGES;
