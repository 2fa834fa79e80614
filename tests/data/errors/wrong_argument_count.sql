INSERT INTO results
SELECT customer_id, upper(email, 1) AS email FROM CHANGES(customer);
