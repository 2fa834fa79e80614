SELECT count(*) FROM CHANGES(customer);
