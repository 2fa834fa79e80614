-- An archive of tables of two databases at once: `chista` of MySQL or MariaDB, `shipments` of PostgreSQL.
--
--   test.chista       ──Debezium──► topic mysql1.test.chista        ──► archive.chista
--   public.shipments  ──Debezium──► topic shipment.public.shipments ──► archive.shipments
--
--   compose/native/connect.sh register mariadb-chista postgres-shipments       # or mysql-chista
--   highwater run queries/archive_shipments.sql
--
-- Each table has the current rows: updates replace them, deletes take them away. The tables are created when they are missing; those
-- that are there are checked. A connector with SNAPSHOT_MODE=always sends all rows again whenever it starts: they replace themselves.
--
-- Variables: KAFKA_BROKERS, CLICKHOUSE_URL; DATABASE, the database in ClickHouse; MYSQL_TOPIC and POSTGRES_TOPIC.

CREATE TABLE chista (
  id   BIGINT,
  name STRING,
  PRIMARY KEY (id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'topic' = '${MYSQL_TOPIC:-mysql1.test.chista}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'debezium-json',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE shipments (
  shipment_id  BIGINT,
  order_id     BIGINT,
  date_created DATE,
  status       STRING,
  PRIMARY KEY (shipment_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'topic' = '${POSTGRES_TOPIC:-shipment.public.shipments}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'debezium-json',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE chista_archive
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-archive}.chista');
CREATE TABLE shipments_archive
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-archive}.shipments');

INSERT INTO chista_archive SELECT id, name FROM chista;
INSERT INTO shipments_archive SELECT shipment_id, order_id, date_created, status FROM shipments;
