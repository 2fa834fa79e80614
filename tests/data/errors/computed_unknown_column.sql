CREATE TABLE t (id INT, twice AS ident * 2) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
SELECT * FROM t;
