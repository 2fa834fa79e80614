INSERT INTO results
SELECT window(create_date, '5 minutes'), count(*) AS n
FROM CHANGES(customer)
GROUP BY window(create_date, '5 minutes');
