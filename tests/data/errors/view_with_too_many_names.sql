CREATE VIEW v (a, b, c) AS SELECT page, seen FROM clicks;
INSERT INTO results SELECT a FROM v;
