CREATE TABLE shops (id INT, city STRING) WITH (
  'connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'debezium-json', 'lookup.cache' = 'FULL');
INSERT INTO results SELECT page, city FROM clicks JOIN shops AS s ON page = s.city;
