INSERT INTO results
SELECT * FROM CHANGES(customer)
WHERE email = 'anna@example.org;
