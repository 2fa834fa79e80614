INSERT INTO results
SELECT create_date + INTERVAL '5' MINUTE TO SECOND AS later FROM CHANGES(customer);
