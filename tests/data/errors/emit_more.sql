INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end
EMIT ON WINDOW CLOSE ALLOWED DELAY INTERVAL '5' SECOND;
