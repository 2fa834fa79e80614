-- A log of the updates of a table in PostgreSQL: one row per update, with the time at which it was written.
--
--   public.people ──Debezium──► topic app.public.people ──► shop.changes (id, name, created_at, op, ts)
--
--   compose/native/connect.sh register postgres-people
--   highwater run queries/changes_log.sql                        # without end; all partitions beside each other
--   highwater query 'SELECT * FROM shop.changes ORDER BY ts DESC, id LIMIT 10'
--
-- Variables, from --set, the environment, or a file .env in the working directory:
--   KAFKA_BROKERS, CLICKHOUSE_URL
--   DATABASE        the database in ClickHouse
--   TOPIC           Debezium's topic
--   HIGHWATER_LOG   what is logged: error, warn, info, debug

CREATE TABLE people (
  id         INT UNSIGNED,
  name       STRING,
  created_at TIMESTAMP(6)  COMMENT 'when the row was made, in UTC',
  PRIMARY KEY (id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'topic' = '${TOPIC:-app.public.people}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'properties.group.id' = 'highwater-changes-log',
  'format' = 'debezium-json',
  'scan.startup.mode' = 'earliest-offset'
);

-- Made when it is missing. `ts` is when the block of rows was made: it is kept with the checkpoint, so that a block that has to be
-- written again after a failure is the same block, and stays there once.
CREATE TABLE changes (
  id         INT UNSIGNED NOT NULL,
  name       STRING NOT NULL,
  created_at TIMESTAMP(0) NOT NULL,
  op         STRING NOT NULL
) WITH (
  'connector' = 'clickhouse',
  'url' = '${CLICKHOUSE_URL:-http://localhost:8123}',
  'table' = '${DATABASE:-shop}.changes',
  'clickhouse.type.created_at' = 'DateTime',
  'clickhouse.written-at' = 'ts',
  'clickhouse.order-by' = 'id, ts'
);

-- Updates only. For inserts and deletes too, leave WHERE out, or write _op IN ('c', 'u', 'd').
INSERT INTO changes
SELECT coalesce(id, 0), coalesce(name, ''), coalesce(created_at, TIMESTAMP '1970-01-01 00:00:00'), _op
FROM CHANGES(people)
WHERE _op = 'u';
