CREATE TABLE orders WITH ('connector' = 'clickhouse', 'table' = 'orders');
INSERT INTO orders SELECT * FROM CHANGES(customer);
