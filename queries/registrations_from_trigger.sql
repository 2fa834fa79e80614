-- Registrations per store, from a table of events that a TRIGGER fills.
--
-- Some shops have a trigger write down each change of `customer` in a table of events, here `users_change_events`. The table is only
-- ever added to, so that its rows are the events: Debezium sends an insert for each of them.
--
--   customer ──TRIGGER──► users_change_events ──Debezium──► topic shop.sakila.users_change_events ──► shop.registrations_from_trigger
--
--   highwater run queries/registrations_from_trigger.sql                       # on the stack of `make up`
--
-- Variables: KAFKA_BROKERS, CLICKHOUSE_URL, DATABASE and WINDOW, as in registrations_per_store.sql.

CREATE TABLE users_change_events (
  event_id    BIGINT           COMMENT 'counts the events',
  customer_id BIGINT,
  store_id    INT              COMMENT 'the store where the customer registered; never changes',
  event_type  STRING           COMMENT 'INSERT, UPDATE or DELETE: what happened to the customer',
  new_row     STRING           COMMENT 'the customer afterwards, as JSON',
  created_at  TIMESTAMP(3)     COMMENT 'create_date of the customer, in UTC: the event time',
  changed_at  TIMESTAMP_LTZ(6) COMMENT 'when the trigger ran',
  PRIMARY KEY (event_id) NOT ENFORCED,
  WATERMARK FOR created_at AS created_at - INTERVAL '10' SECOND IDLE TIMEOUT INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'shop.sakila.users_change_events',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}',
  'properties.group.id' = 'highwater-registrations-from-trigger',
  'format' = 'debezium-json',
  'scan.startup.mode' = 'earliest-offset'
);

CREATE TABLE registrations_from_trigger
WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DATABASE:-shop}.registrations_from_trigger');

-- `_op` is what happened to the row of users_change_events, `event_type` what happened to the customer: rows of the events' table
-- that somebody updates or deletes later (old ones, to make room) count for nothing.
INSERT INTO registrations_from_trigger
SELECT window_start, window_end, store_id, count(*) AS registrations
FROM TUMBLE(CHANGES(users_change_events), created_at, INTERVAL '${WINDOW:-5 MINUTES}')
WHERE _op IN ('c', 'r') AND event_type = 'INSERT'
GROUP BY window_start, window_end, store_id
EMIT ON WINDOW CLOSE;
