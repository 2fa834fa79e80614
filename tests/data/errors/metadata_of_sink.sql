CREATE TABLE s (id INT, topic STRING METADATA) WITH ('connector' = 'print');
INSERT INTO s SELECT page FROM clicks;
