-- Tables of MySQL or MariaDB in ClickHouse, in Avro on the way: inserts, updates and deletes arrive within seconds, for dashboards.
--
--   sakila ──Debezium──► Avro, with schemas in the registry ──► topics shop_avro.sakila.* ──► dashboards.customer, dashboards.store
--
--   compose/native/up.sh registry
--   compose/native/connect.sh register mariadb-sakila-avro                      # or mysql-sakila-avro
--   highwater run queries/mysql_to_clickhouse_avro.sql
--
-- Variables: KAFKA_BROKERS, CLICKHOUSE_URL; SCHEMA_REGISTRY, Confluent's API of the registry; DATABASE, the database in ClickHouse;
-- TOPIC_PREFIX, the connector's.

CREATE TABLE customer (
  customer_id BIGINT,
  store_id    INT,
  first_name  STRING,
  last_name   STRING,
  email       STRING,
  active      BOOLEAN,
  create_date TIMESTAMP(3)      COMMENT 'when the customer registered, in UTC',
  last_update TIMESTAMP_LTZ(3),
  PRIMARY KEY (customer_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'topic' = '${TOPIC_PREFIX:-shop_avro}.sakila.customer',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'debezium-avro-confluent',
  'debezium-avro-confluent.url' = '${SCHEMA_REGISTRY:-http://localhost:8081/apis/ccompat/v7}',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE store (
  store_id    BIGINT,
  address_id  BIGINT,
  last_update TIMESTAMP_LTZ(3),
  PRIMARY KEY (store_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'topic' = '${TOPIC_PREFIX:-shop_avro}.sakila.store',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'format' = 'debezium-avro-confluent',
  'debezium-avro-confluent.url' = '${SCHEMA_REGISTRY:-http://localhost:8081/apis/ccompat/v7}',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE customer_mirror
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-dashboards}.customer');
CREATE TABLE store_mirror
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-dashboards}.store');

INSERT INTO customer_mirror SELECT * FROM customer;
INSERT INTO store_mirror SELECT * FROM store;
