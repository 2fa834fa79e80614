CREATE DATABASE shop WITH ('connector' = 'kafka', 'topic-patern' = 'shop[.].*', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
