CREATE TABLE t (id INT, twice AS id * 2, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');
SELECT id, twice FROM t;
