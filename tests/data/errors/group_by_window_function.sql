INSERT INTO results
SELECT tumble(create_date, '5 minutes') AS five, email
FROM CHANGES(customer);
