INSERT INTO results
SELECT window_start, count(*) AS n
FROM HOP(CHANGES(customer), create_date, INTERVAL '1' HOUR, INTERVAL '1' DAY, TIME ZONE 'Europe/Berlin')
GROUP BY window_start, window_end;
