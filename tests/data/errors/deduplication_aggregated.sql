INSERT INTO results
SELECT store_id, count(*) AS n FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY store_id ORDER BY create_date RANGE INTERVAL '1' HOUR PRECEDING) AS rn FROM CHANGES(customer))
WHERE rn = 1 GROUP BY store_id;
