INSERT INTO results
SELECT TO_TIMESTAMP_LTZ(customer_id, 9) AS later FROM CHANGES(customer);
