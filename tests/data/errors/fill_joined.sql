INSERT INTO results
SELECT a.window_start, a.window_end, a.email
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE) AS a JOIN TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE) AS b
ON a.window_start = b.window_start AND a.window_end = b.window_end
EMIT ON WINDOW CLOSE FILL EMPTY WINDOWS FOR 3;
