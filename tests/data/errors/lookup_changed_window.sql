CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');
INSERT INTO results
SELECT window_start, city, count(*) AS n FROM TUMBLE(customer, create_date, INTERVAL '1' MINUTE) AS c JOIN shops AS s ON c.store_id = s.id
GROUP BY window_start, window_end, city;
