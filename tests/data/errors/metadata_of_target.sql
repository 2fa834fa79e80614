CREATE TABLE s (id STRING, topic STRING METADATA) WITH ('connector' = 'filesystem', 'path' = 'x.json');
INSERT INTO s SELECT page, page FROM clicks;
