CREATE TABLE orders (
  id INT,
  PRIMARY KEY (id, shop) NOT ENFORCED
) WITH ('connector' = 'blackhole');
