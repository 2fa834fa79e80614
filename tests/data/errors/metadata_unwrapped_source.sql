CREATE TABLE m (id INT, s STRING METADATA FROM 'value.source.properties') WITH ('connector' = 'kafka', 'topic' = 't',
  'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json', 'debezium-json.unwrapped' = 'true');
INSERT INTO results SELECT * FROM m;
