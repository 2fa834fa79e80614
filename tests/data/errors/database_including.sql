CREATE DATABASE shop WITH ('connector' = 'kafka', 'topic-pattern' = 'shop[.].*', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
CREATE DATABASE copy WITH ('connector' = 'clickhouse', 'url' = 'http://localhost:8123', 'database' = 'shop') AS DATABASE shop INCLUDING EVERYTHING;
