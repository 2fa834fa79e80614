CREATE TABLE m (id INT) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092',
  'value.format' = 'json', 'key.format' = 'json');
INSERT INTO results SELECT * FROM m;
