CREATE TABLE m (id INT) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092',
  'value.format' = 'json', 'format' = 'csv');
INSERT INTO results SELECT * FROM m;
