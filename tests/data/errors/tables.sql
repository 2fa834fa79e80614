-- The tables that the wrong queries beside this file use.
CREATE TABLE customer (
  customer_id INT, store_id SMALLINT, email STRING, create_date TIMESTAMP(3), last_update TIMESTAMP(3),
  PRIMARY KEY (customer_id) NOT ENFORCED,
  WATERMARK FOR create_date AS create_date - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'customer.jsonl', 'format' = 'debezium-json');

CREATE TABLE clicks (page STRING, seen TIMESTAMP(3)) WITH ('connector' = 'filesystem', 'path' = 'clicks.jsonl', 'format' = 'json');

CREATE TABLE keyless (id INT, seen TIMESTAMP(3)) WITH ('connector' = 'filesystem', 'path' = 'keyless.jsonl', 'format' = 'debezium-json');

CREATE TABLE results WITH ('connector' = 'blackhole');

CREATE TABLE typed (window_start TIMESTAMP(3), store_id SMALLINT, registrations BIGINT) WITH ('connector' = 'blackhole');
