CREATE TABLE orders (
  id INT
  shop INT
) WITH ('connector' = 'blackhole');
