INSERT INTO results
SELECT email;
