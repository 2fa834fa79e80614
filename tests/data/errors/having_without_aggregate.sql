INSERT INTO results
SELECT email FROM CHANGES(customer) HAVING count(*) > 1;
