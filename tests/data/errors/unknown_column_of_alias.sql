INSERT INTO results
SELECT c.email, c.shop
FROM CHANGES(customer) AS c;
