CREATE TABLE orders (id INT) WITH ('connector' = 'filesystem', 'path' = '${PATH', 'format' = 'json');
