CREATE TABLE t (id INT, twice AS id * 2, PRIMARY KEY (twice) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'debezium-json');
SELECT * FROM t;
