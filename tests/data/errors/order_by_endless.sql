INSERT INTO results
SELECT * FROM CHANGES(customer)
ORDER BY create_date;
