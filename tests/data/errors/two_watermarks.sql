CREATE TABLE orders (
  placed TIMESTAMP(3), seen TIMESTAMP(3),
  WATERMARK FOR placed AS placed - INTERVAL '5' SECOND,
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) WITH ('connector' = 'blackhole');
