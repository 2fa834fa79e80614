INSERT INTO results
SELECT tumble(create_date, '5 minutes'), count(*) AS n
FROM CHANGES(customer)
GROUP BY tumble(create_date, '5 minutes');
