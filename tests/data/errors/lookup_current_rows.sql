CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');
INSERT INTO results SELECT customer_id, city FROM customer AS c JOIN shops AS s ON c.store_id = s.id;
