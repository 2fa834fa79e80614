INSERT INTO results
SELECT email, page FROM CHANGES(customer), clicks;
