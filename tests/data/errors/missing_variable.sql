CREATE TABLE orders (id INT) WITH (
  'connector' = 'filesystem', 'path' = '${HIGHWATER_TEST_NO_SUCH_VARIABLE}', 'format' = 'json'
);
