-- Registrations per store, from the table `customer` of a shop (MySQL's sample database sakila).
--
--   customer (database) ──Debezium──► topic shop.sakila.customer ──► shop.customer_changes          every change, as it came
--                                                                ├─► shop.customer                  the current rows
--                                                                └─► shop.registrations_per_store   one row per window and store
--
--   highwater run queries/registrations_per_store.sql                          # on the stack of `make up`
--   highwater run queries/registrations_per_store.sql --set WINDOW='1 HOUR'
--
-- Variables, from the environment or --set:
--   KAFKA_BROKERS    brokers as host:port, with commas between them
--   CLICKHOUSE_URL   http://[user:password@]host:port
--   DATABASE         the database in ClickHouse; it and the tables are created when missing
--   WINDOW           how long a window is

-- A topic with a change-data format and a primary key is a table. Types are at least as wide as those of the database:
-- sakila's keys are unsigned, and an INT UNSIGNED does not fit into an INT; PostgreSQL's TIMESTAMPTZ has six digits.
CREATE TABLE customer (
  customer_id BIGINT           COMMENT 'primary key',
  store_id    INT              COMMENT 'the store where the customer shops now; updates change it',
  first_name  STRING,
  last_name   STRING,
  email       STRING,
  address_id  BIGINT,
  active      BOOLEAN,
  create_date TIMESTAMP(3)     COMMENT 'when the customer registered, in UTC: the event time',
  last_update TIMESTAMP_LTZ(6) COMMENT 'when the row was changed last',
  PRIMARY KEY (customer_id) NOT ENFORCED,
  -- Customers may come up to ten seconds out of order. One that comes later than that, when its window has closed, goes to
  -- shop.registrations_per_store_late: windows and late rows together are all registrations. A partition where nothing comes for
  -- a while does not hold the windows up.
  WATERMARK FOR create_date AS create_date - INTERVAL '10' SECOND IDLE TIMEOUT INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'shop.sakila.customer',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'properties.group.id' = 'highwater-registrations-per-store',  -- only shows the lag to Kafka's tools; Highwater keeps its own offsets
  'format' = 'debezium-json',
  'scan.startup.mode' = 'earliest-offset'
);

-- Where the results go. Columns are left out: they are those of the queries below.
CREATE TABLE customer_changes
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.customer_changes');
CREATE TABLE customer_mirror
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.customer');
CREATE TABLE registrations_per_store
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.registrations_per_store');

-- Every change event: CHANGES(t) reads the topic as a stream of events. `*` has the columns of the row (of a delete: as it was before)
-- and the event's own: _op, _source_ts, _topic, _partition, _offset, _timestamp.
INSERT INTO customer_changes
SELECT * FROM CHANGES(customer);

-- The table itself: its current rows. Updates replace rows, deletes remove them.
INSERT INTO customer_mirror
SELECT * FROM customer;

-- Registrations: rows that were inserted ('c'), or were there before Debezium began ('r', from its snapshot). Updates and
-- deletes are no registrations and change no count. A window is written once, when it closes.
INSERT INTO registrations_per_store
SELECT window_start, window_end, store_id, count(*) AS registrations
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '${WINDOW:-5 MINUTES}')
WHERE _op IN ('c', 'r')
GROUP BY window_start, window_end, store_id
EMIT ON WINDOW CLOSE;
