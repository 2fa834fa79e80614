CREATE TABLE m (id INT, a BIGINT METADATA FROM 'value.source.lsn',
  b STRING METADATA FROM 'value.source.lsn')
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
INSERT INTO results SELECT * FROM m;
