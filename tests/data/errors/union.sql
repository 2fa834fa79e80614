INSERT INTO results
SELECT email AS text FROM CHANGES(customer)
UNION
SELECT page AS text FROM clicks;
