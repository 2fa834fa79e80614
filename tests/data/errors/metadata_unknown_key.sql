CREATE TABLE m (id INT, at TIMESTAMP(3) METADATA FROM 'timestmp')
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO results SELECT * FROM m;
