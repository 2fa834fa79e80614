CREATE TABLE orders (id INT) WITH (
  'connector' = 'filesystem',
  'path' = 'orders.jsonl',
  'format' = 'debezium-jsn'
);
SELECT * FROM orders;
