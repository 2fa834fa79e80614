CREATE TABLE t (id INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json', 'snapshot' = 'exclude');
SELECT id FROM t;
