INSERT INTO results
SELECT * FROM custmer;
