INSERT INTO results
SELECT window_start, email
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE);
