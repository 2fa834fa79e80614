INSERT INTO typed
SELECT window_start, count(*) AS registrations
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
