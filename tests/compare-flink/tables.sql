-- The tables of queries.sql, in the words of both engines. data.py writes their files.

-- Rows that are only added: disorder of up to 4 seconds, some rows much later, NULLs in every column but the time.
CREATE TABLE clicks (
  ts TIMESTAMP(3), k STRING, n INT, d DOUBLE, p DECIMAL(10, 2), s STRING, flag BOOLEAN,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/clicks.jsonl', 'format' = 'json');

-- Two streams to be joined, without late rows: in Flink it would be up to chance which rows are late.
CREATE TABLE sales (
  ts TIMESTAMP(3), k STRING, n INT, p DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/sales.jsonl', 'format' = 'json');
CREATE TABLE refunds (
  ts TIMESTAMP(3), k STRING, n INT, p DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/refunds.jsonl', 'format' = 'json');

-- A table that changes: inserts, updates of every column but the key, deletes.
CREATE TABLE orders (
  id BIGINT, shop STRING, price DECIMAL(10, 2), n INT, status STRING, placed TIMESTAMP(3),
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR placed AS placed - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/orders.jsonl', 'format' = 'debezium-json');

-- The same table with updates and deletes of rows whose windows have closed.
CREATE TABLE old_orders (
  id BIGINT, shop STRING, price DECIMAL(10, 2), n INT, status STRING, placed TIMESTAMP(3),
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR placed AS placed - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/old_orders.jsonl', 'format' = 'debezium-json');

-- Reading began in the middle: a delete and an update of rows that were never inserted.
CREATE TABLE half_orders (
  id BIGINT, shop STRING, price DECIMAL(10, 2), n INT, status STRING, placed TIMESTAMP(3),
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR placed AS placed - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/half_orders.jsonl', 'format' = 'debezium-json');

-- A row an hour through the days on which summer time begins and ends in Berlin.
CREATE TABLE hourly (
  ts TIMESTAMP_LTZ(3), n INT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/hourly.jsonl', 'format' = 'json');

-- One row has no time.
CREATE TABLE timeless (
  ts TIMESTAMP(3), n INT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/timeless.jsonl', 'format' = 'json');

-- Rows exactly at the edges of windows and sessions; no delay.
CREATE TABLE edges (
  ts TIMESTAMP(3), k STRING, n INT,
  WATERMARK FOR ts AS ts - INTERVAL '0' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/edges.jsonl', 'format' = 'json');
