INSERT INTO results
SELECT count(*) AS n
FROM CHANGES(customer)
GROUP BY window(create_date, '5 minutes'), session_window(create_date, '5 minutes');
