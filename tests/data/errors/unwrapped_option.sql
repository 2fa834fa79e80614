CREATE TABLE m (id INT) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092',
  'value.format' = 'debezium-json', 'value.debezium-json.unwrapped' = 'yes');
INSERT INTO results SELECT * FROM CHANGES(m);
