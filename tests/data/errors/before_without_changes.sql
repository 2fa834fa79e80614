SELECT _before FROM customer;
