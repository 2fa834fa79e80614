CREATE TABLE orders (id INT) WITH (
  'connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092',
  'format' = 'debezium-avro-confluent'
);
SELECT * FROM CHANGES(orders);
