INSERT INTO results
SELECT window_start, email
FROM TUMBLE(customer, create_date, INTERVAL '5' MINUTE);
