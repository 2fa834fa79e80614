CREATE TABLE orders (id INT) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'format' = 'json', 'properties.bootstrap.servers' = 'localhost:9092',
  'properties.fetch.min.byte' = '1'
);
SELECT * FROM orders;
