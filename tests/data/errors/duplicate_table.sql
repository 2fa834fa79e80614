CREATE TABLE customer (id INT) WITH ('connector' = 'blackhole');
