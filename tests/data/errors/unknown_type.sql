CREATE TABLE orders (
  id INT,
  placed TIMESTMP(3)
) WITH ('connector' = 'blackhole');
