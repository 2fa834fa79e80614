CREATE TABLE orders (id INT) WITH ('connector' = 'filesystem', 'path' = 'o.jsonl', 'format' = 'json', 'json.fail-on-missing-field' = 'true');
INSERT INTO results SELECT id FROM orders;
