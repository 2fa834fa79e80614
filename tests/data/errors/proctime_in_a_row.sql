CREATE TABLE t (id INT, ts AS PROCTIME(), PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');
SELECT id, ts FROM CHANGES(t);
