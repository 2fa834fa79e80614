CREATE TABLE keyed (email STRING, created INT) WITH ('connector' = 'blackhole');
INSERT INTO keyed
SELECT email, CAST('1 day' AS INTERVAL) AS created FROM CHANGES(customer);
