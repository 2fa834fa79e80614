SELECT * FROM clicks;

INSERT INTO result
SELECT * FROM clicks;
