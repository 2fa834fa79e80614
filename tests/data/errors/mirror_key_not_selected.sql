INSERT INTO results
SELECT email FROM customer;
