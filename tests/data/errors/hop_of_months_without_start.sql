INSERT INTO results
SELECT window_end, count(*) AS n
FROM HOP(CHANGES(customer), create_date, INTERVAL '1' DAY, INTERVAL '1' MONTH)
GROUP BY window_end;
