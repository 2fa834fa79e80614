CREATE TABLE t (id INT, twice AS id * 2) WITH ('connector' = 'blackhole');
INSERT INTO t SELECT customer_id FROM CHANGES(customer);
