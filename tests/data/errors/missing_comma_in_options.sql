CREATE TABLE orders (id INT) WITH (
  'connector' = 'filesystem'
  'path' = 'orders.jsonl'
);
