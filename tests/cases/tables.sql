-- The tables that most cases read.

-- Rows that are only added. Five seconds of disorder.
CREATE TABLE clicks (
  page STRING, visitor BIGINT, amount DOUBLE, seen TIMESTAMP(3),
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'clicks', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'json');

-- A table with changes. No disorder.
CREATE TABLE orders (
  id BIGINT, shop STRING, price DECIMAL(10, 2), status STRING, placed TIMESTAMP(3),
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR placed AS placed - INTERVAL '0' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');

CREATE TABLE results WITH ('connector' = 'blackhole');
CREATE TABLE more_results WITH ('connector' = 'blackhole');
CREATE TABLE other_results WITH ('connector' = 'blackhole');
