INSERT INTO results
SELECT window_start, nth_value(email, 2) AS second
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
