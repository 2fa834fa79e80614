CREATE TABLE orders (id INT) WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.start.mode' = 'earliest-offset',
  'format' = 'json'
);
SELECT * FROM orders;
