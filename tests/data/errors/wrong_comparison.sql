INSERT INTO results
SELECT customer_id FROM CHANGES(customer)
WHERE create_date > 5;
