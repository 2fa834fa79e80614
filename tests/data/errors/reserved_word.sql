INSERT INTO results
SELECT email, order FROM CHANGES(customer);
