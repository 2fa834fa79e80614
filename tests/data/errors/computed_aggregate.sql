CREATE TABLE t (id INT, total AS sum(id)) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
SELECT * FROM t;
