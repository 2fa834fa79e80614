INSERT INTO results
SELECT customer_id,
       store
FROM CHANGES(customer);
