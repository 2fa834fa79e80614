INSERT INTO results
SELECT window_start, max(window_end - create_date) AS rest
FROM HOP(CHANGES(customer), create_date, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
