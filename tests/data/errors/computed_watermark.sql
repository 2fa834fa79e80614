CREATE TABLE t (id INT, at AS id * 1000, WATERMARK FOR at AS at - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
SELECT * FROM t;
