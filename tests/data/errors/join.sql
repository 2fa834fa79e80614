INSERT INTO results
SELECT c.email, k.page
FROM CHANGES(customer) AS c
JOIN clicks AS k ON c.email = k.page;
