INSERT INTO results
SELECT email FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY store_id ORDER BY create_date) AS rn FROM CHANGES(customer))
WHERE rn = 1;
