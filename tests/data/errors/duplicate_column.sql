CREATE TABLE orders (
  id INT,
  shop INT,
  id BIGINT
) WITH ('connector' = 'blackhole');
