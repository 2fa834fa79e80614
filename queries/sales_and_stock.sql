-- Sales and stock movements, plain JSON without a database behind it: kept as they come, and summed up by the minute.
--
--   topic sales     ──► shop.sales             every sale          ──► shop.revenue_per_store   per minute and store
--   topic warehouse ──► shop.stock_movements   every movement      ──► shop.stock_per_product   per minute and product
--
--   data-gen retail --total 1M --any-iso
--   highwater run queries/sales_and_stock.sql
--
-- Times may be in any form of ISO 8601, with any offset; the tables have them in UTC.
--
-- Variables: KAFKA_BROKERS, CLICKHOUSE_URL; DATABASE, the database in ClickHouse; SALES_TOPIC, WAREHOUSE_TOPIC; WINDOW.

CREATE TABLE sales_events (
  sale_id    BIGINT NOT NULL,
  event_time TIMESTAMP(3) NOT NULL  COMMENT 'when it was sold, in UTC',
  store_id   INT NOT NULL,
  product_id BIGINT NOT NULL,
  quantity   INT NOT NULL,
  unit_price DECIMAL(10, 2) NOT NULL,
  payment    STRING,
  WATERMARK FOR event_time AS event_time - INTERVAL '10' SECOND IDLE TIMEOUT INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = '${SALES_TOPIC:-sales}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'json',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE warehouse_events (
  movement_id  BIGINT NOT NULL,
  event_time   TIMESTAMP(3) NOT NULL  COMMENT 'when the stock changed, in UTC',
  warehouse_id INT NOT NULL,
  product_id   BIGINT NOT NULL,
  change       INT NOT NULL           COMMENT 'pieces that came; below zero, that went',
  reason       STRING,
  WATERMARK FOR event_time AS event_time - INTERVAL '10' SECOND IDLE TIMEOUT INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = '${WAREHOUSE_TOPIC:-warehouse}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'json',
  'scan.startup.mode' = 'earliest-offset'
);

-- PARTITION BY toYYYYMM(event_time), as of every table with an event time.
CREATE TABLE sales
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.sales',
      'clickhouse.order-by' = 'event_time, product_id');
CREATE TABLE stock_movements
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.stock_movements',
      'clickhouse.order-by' = 'event_time, product_id');
CREATE TABLE revenue_per_store
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.revenue_per_store');
CREATE TABLE stock_per_product
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.stock_per_product');

INSERT INTO sales SELECT * FROM sales_events;
INSERT INTO stock_movements SELECT * FROM warehouse_events;

INSERT INTO revenue_per_store
SELECT window_start, window_end, store_id, count(*) AS sales, sum(quantity * unit_price) AS revenue
FROM TUMBLE(sales_events, event_time, INTERVAL '${WINDOW:-1 MINUTE}')
GROUP BY window_start, window_end, store_id
EMIT ON WINDOW CLOSE;

-- What came less what went: the stock at any time is the sum over the windows before it.
INSERT INTO stock_per_product
SELECT window_start, window_end, product_id, sum(change) AS change, count(*) AS movements
FROM TUMBLE(warehouse_events, event_time, INTERVAL '${WINDOW:-1 MINUTE}')
GROUP BY window_start, window_end, product_id
EMIT ON WINDOW CLOSE;
