CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'PARTIAL');
INSERT INTO results SELECT page, city FROM clicks JOIN shops AS s ON page = s.city;
