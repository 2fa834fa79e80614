INSERT INTO results
SELECT email AS text FROM customer
UNION ALL
SELECT page AS text FROM clicks;
