CREATE TABLE baskets (id INT, items ARRAY<STRING>)
WITH ('connector' = 'filesystem', 'path' = 'baskets.jsonl', 'format' = 'json');
INSERT INTO results SELECT id, item FROM baskets JOIN UNNEST(items) AS i(item) ON item <> 'x';
