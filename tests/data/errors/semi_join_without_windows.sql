INSERT INTO results
SELECT page FROM clicks
WHERE EXISTS (SELECT * FROM CHANGES(customer) AS c WHERE c.email = clicks.page);
