CREATE TABLE orders (id INT)
WITH (
  'connector' = 'kafak',
  'topic' = 'orders'
);
SELECT * FROM orders;
