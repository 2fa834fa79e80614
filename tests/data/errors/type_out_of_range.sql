CREATE TABLE orders (
  id INT,
  amount DECIMAL(80, 2)
) WITH ('connector' = 'blackhole');
