CREATE TABLE mails WITH ('connector' = 'filesystem', 'path' = 'mails.json', 'format' = 'json');
INSERT INTO mails SELECT email FROM CHANGES(customer);
INSERT INTO mails SELECT store_id FROM CHANGES(customer);
