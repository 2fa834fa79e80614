CREATE TABLE orders (
  id INT PRIMARY KEY, shop INT,
  PRIMARY KEY (shop)
) WITH ('connector' = 'blackhole');
