CREATE TABLE counts WITH ('connector' = 'filesystem', 'path' = 'counts.json', 'format' = 'json');
INSERT INTO counts SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE) GROUP BY window_start, window_end;
INSERT INTO counts SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' HOUR) GROUP BY window_start, window_end;
