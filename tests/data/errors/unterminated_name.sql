INSERT INTO results
SELECT `email FROM CHANGES(customer);
