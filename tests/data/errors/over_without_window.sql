INSERT INTO results
SELECT window_start, n, row_number() OVER (ORDER BY n DESC) AS place
FROM (SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE) GROUP BY window_start);
