INSERT INTO results
SELECT store_id, count(*) AS registrations
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
GROUP BY store_id;
