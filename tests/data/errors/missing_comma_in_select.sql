INSERT INTO results
SELECT customer_id email store_id FROM CHANGES(customer);
