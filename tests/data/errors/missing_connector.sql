CREATE TABLE orders (id INT) WITH ('topic' = 'orders', 'format' = 'json');
SELECT * FROM orders;
