CREATE TABLE baskets (id INT, items ARRAY<ROW<sku STRING, price INT>>)
WITH ('connector' = 'filesystem', 'path' = 'baskets.jsonl', 'format' = 'json');
INSERT INTO results SELECT id, sku FROM baskets CROSS JOIN UNNEST(items) AS i(sku, price);
