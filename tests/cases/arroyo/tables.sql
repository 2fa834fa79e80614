-- Tables as Arroyo's own tests have them, with their columns called as there.

CREATE TABLE cars (
  timestamp TIMESTAMP NOT NULL, driver_id BIGINT, event_type TEXT, location TEXT,
  watermark for timestamp AS (timestamp - interval '1 hour')
) WITH (connector = 'filesystem', path = 'cars.jsonl', format = 'json');
CREATE TABLE impulse (
  timestamp TIMESTAMP, counter BIGINT UNSIGNED NOT NULL, subtask_index BIGINT UNSIGNED NOT NULL,
  watermark for timestamp AS timestamp
) WITH (connector = 'filesystem', path = 'impulse.jsonl', format = 'json');
CREATE TABLE orders (
  id INT PRIMARY KEY, customer_name TEXT, product_name TEXT, quantity INTEGER, price FLOAT, order_date TIMESTAMP, status TEXT,
  watermark for order_date AS order_date - interval '10 minutes'
) WITH (connector = 'filesystem', path = 'orders.jsonl', format = 'debezium-json');
