CREATE TABLE own WITH ('connector' = 'blackhole', 'allowed-lateness' = 'a while');
INSERT INTO own
SELECT window_start, count(*) AS n
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end;
