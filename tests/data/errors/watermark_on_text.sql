CREATE TABLE orders (
  id INT,
  placed STRING,
  WATERMARK FOR placed AS placed - INTERVAL '5' SECOND
) WITH ('connector' = 'blackhole');
