CREATE TABLE m (id INT, op STRING METADATA FROM 'value.op')
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO results SELECT * FROM m;
