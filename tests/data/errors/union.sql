INSERT INTO results
SELECT email AS text FROM CHANGES(customer)
UNION ALL
SELECT page AS text FROM clicks;
