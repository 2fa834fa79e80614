-- Small tables, which streams are joined with.

CREATE TABLE shops (shop STRING, city STRING, opened BIGINT)
WITH ('connector' = 'filesystem', 'path' = 'shops.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');

-- The latest row of each key.
CREATE TABLE visitors (id BIGINT, name STRING, level INT, PRIMARY KEY (id) NOT ENFORCED)
WITH ('connector' = 'kafka', 'topic' = 'shop.visitors', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json',
      'lookup.cache' = 'FULL');

CREATE TABLE prices (shop STRING, factor DECIMAL(10, 2))
WITH ('connector' = 'clickhouse', 'url' = 'http://none:8123', 'table' = 'shop.prices');
