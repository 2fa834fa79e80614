CREATE TABLE orders (
  id INT,
  placed_at TIMESTAMP(3),
  WATERMARK FOR placed AS placed - INTERVAL '5' SECOND
) WITH ('connector' = 'blackhole');
