CREATE TABLE t (id INT, chance AS random()) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
SELECT * FROM t;
