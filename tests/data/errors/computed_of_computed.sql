CREATE TABLE t (id INT, twice AS id * 2, four AS twice * 2) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
SELECT * FROM t;
