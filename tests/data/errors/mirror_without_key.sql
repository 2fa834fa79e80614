INSERT INTO results
SELECT * FROM keyless;
