CREATE TABLE out WITH (
  'connector' = 'kafka', 'topic' = 'out', 'format' = 'json', 'properties.bootstrap.servers' = 'localhost:9092'
);
INSERT INTO out SELECT * FROM clicks;
