CREATE TABLE baskets (id INT PRIMARY KEY, items ARRAY<STRING>)
WITH ('connector' = 'filesystem', 'path' = 'baskets.jsonl', 'format' = 'debezium-json');
INSERT INTO results SELECT id, item FROM baskets CROSS JOIN UNNEST(items) AS i(item);
