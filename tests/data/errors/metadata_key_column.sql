CREATE TABLE m (id INT, part INT METADATA FROM 'partition', PRIMARY KEY (id, part))
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
INSERT INTO results SELECT * FROM m;
