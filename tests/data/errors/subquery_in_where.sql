INSERT INTO results
SELECT email FROM CHANGES(customer)
WHERE email IN (SELECT page FROM clicks);
