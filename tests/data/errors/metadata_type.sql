CREATE TABLE m (id INT, at INT METADATA FROM 'timestamp')
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO results SELECT * FROM m;
