INSERT INTO results SELECT email, page FROM CHANGES(customer) AS o JOIN clicks FOR SYSTEM_TIME AS OF o.create_date AS k ON o.email = k.page;
