CREATE TABLE orders (id INT);
SELECT * FROM orders;
