INSERT INTO results
SELECT email, row_number() OVER (PARTITION BY store_id ORDER BY create_date) AS n
FROM CHANGES(customer);
