SELEC * FROM customer;
