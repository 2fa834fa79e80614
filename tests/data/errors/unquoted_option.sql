CREATE TABLE orders (id INT) WITH (idle-timeout = '5 s', 'connector' = 'blackhole');
