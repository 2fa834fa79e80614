INSERT INTO results
SELECT customer_id,
       uper(email) AS email
FROM CHANGES(customer);
