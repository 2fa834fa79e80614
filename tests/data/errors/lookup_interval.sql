CREATE TABLE shops (id INT, city STRING) WITH (
  'connector' = 'clickhouse', 'url' = 'http://h:8123', 'table' = 'shops',
  'lookup.full-cache.periodic-reload.interval' = 'often');
INSERT INTO results SELECT page, city FROM clicks JOIN shops AS s ON page = s.city;
