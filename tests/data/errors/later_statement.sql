INSERT INTO results SELECT email FROM CHANGES(customer);
INSERT INTO results SELECT email FROM CHANGES(customer) WHERE email = ${HIGHWATER_TEST_UNSET:-'anna'} AND shop = 1;
