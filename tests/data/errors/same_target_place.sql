CREATE TABLE again WITH ('connector' = 'filesystem', 'path' = 'x.json', 'format' = 'json');
CREATE TABLE twice WITH ('connector' = 'filesystem', 'path' = 'x.json', 'format' = 'json');
INSERT INTO again SELECT * FROM CHANGES(customer);
INSERT INTO twice SELECT * FROM CHANGES(customer);
