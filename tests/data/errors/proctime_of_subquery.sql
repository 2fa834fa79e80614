CREATE TABLE t (id INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');
SELECT window_start, count(*) AS n FROM TUMBLE((SELECT id FROM CHANGES(t)), PROCTIME(), INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
