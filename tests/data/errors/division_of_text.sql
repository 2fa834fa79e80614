SELECT email / 2 AS half FROM CHANGES(customer);
