CREATE TABLE orders (
  placed TIMESTAMP(3),
  WATERMARK FOR placd AS placed - INTERVAL '5' SECOND
) WITH ('connector' = 'blackhole');
