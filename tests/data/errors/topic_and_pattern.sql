CREATE TABLE t (id INT) WITH ('topic' = 't', 'connector' = 'kafka', 'topic-pattern' = 'shop[.].*', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
CREATE TABLE o WITH ('connector' = 'print');
INSERT INTO o SELECT * FROM CHANGES(t);
