CREATE TABLE m (id INT,
  shop STRING METADATA FROM 'value.before.id' VIRTUAL)
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
INSERT INTO results SELECT * FROM m;
