INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '6' HOUR, TIME ZONE 'Europe/Berlin')
GROUP BY window_start, window_end;
