CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');
INSERT INTO results SELECT page, n FROM clicks JOIN (SELECT city, count(*) AS n FROM shops GROUP BY city) AS s ON page = s.city;
