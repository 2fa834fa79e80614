CREATE TABLE m (id INT, headers ARRAY<STRING> METADATA)
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
INSERT INTO results SELECT * FROM m;
