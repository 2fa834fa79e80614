INSERT INTO results
SELECT customer_id AS order, email FROM CHANGES(customer)
ORDER BY;
