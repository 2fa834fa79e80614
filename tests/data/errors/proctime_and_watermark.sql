CREATE TABLE t (id INT, at TIMESTAMP(3), ts AS PROCTIME(), WATERMARK FOR at AS at) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');
SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(t), ts, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
