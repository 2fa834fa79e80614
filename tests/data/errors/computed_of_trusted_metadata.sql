CREATE TABLE t (id INT, at TIMESTAMP(3) METADATA FROM 'timestamp', late AS at + INTERVAL '1' SECOND, PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR late AS late)
WITH ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'debezium-json', 'before-images' = 'trusted');
SELECT window_start, count(*) AS n FROM TUMBLE(t, late, INTERVAL '5' MINUTE) GROUP BY window_start, window_end;
