CREATE TABLE t (id INT) WITH ('connector' = 'kafka', 'topic-pattern' = 'shop[', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'json');
CREATE TABLE o WITH ('connector' = 'print');
INSERT INTO o SELECT * FROM t;
