INSERT INTO results
SELECT store_id, count(*) AS registrations
FROM CHANGES(customer)
GROUP BY store_id;
