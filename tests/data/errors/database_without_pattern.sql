CREATE DATABASE shop WITH ('connector' = 'kafka', 'topic' = 'shop.customer', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
