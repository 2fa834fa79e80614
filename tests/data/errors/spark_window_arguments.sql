INSERT INTO results
SELECT window.start, count(*) AS n
FROM CHANGES(customer)
GROUP BY window(create_date);
