CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');
INSERT INTO results SELECT page, city FROM shops AS s LEFT JOIN clicks AS c ON c.page = s.city;
