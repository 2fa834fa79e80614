INSERT INTO results
SELECT customer_id, email, upper(email) AS email FROM CHANGES(customer);
