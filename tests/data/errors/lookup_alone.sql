CREATE TABLE shops (id INT, city STRING) WITH ('connector' = 'filesystem', 'path' = 's.jsonl', 'format' = 'json', 'lookup.cache' = 'FULL');
INSERT INTO results SELECT city FROM shops WHERE id > 1;
