CREATE VIEW mails AS
SELECT mail FROM CHANGES(customer);
SELECT * FROM mails;
