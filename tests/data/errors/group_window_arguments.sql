INSERT INTO results
SELECT store_id, count(*) AS n FROM CHANGES(customer) GROUP BY store_id, TUMBLE(create_date, INTERVAL '5' MINUTE, INTERVAL '1' MINUTE);
