-- The tables of a shop, after MySQL's sample database sakila, in MySQL and MariaDB. Every statement does nothing when
-- its object is there. Identifiers are wider than sakila's, which end at 65,535 customers and 255 stores.

CREATE TABLE IF NOT EXISTS address (
  address_id  INT UNSIGNED      PRIMARY KEY AUTO_INCREMENT,
  address     VARCHAR(50)       NOT NULL,
  address2    VARCHAR(50),
  district    VARCHAR(20)       NOT NULL,
  city_id     SMALLINT UNSIGNED NOT NULL,
  postal_code VARCHAR(10),
  phone       VARCHAR(20)       NOT NULL,
  last_update TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS store (
  store_id         SMALLINT UNSIGNED PRIMARY KEY AUTO_INCREMENT,
  manager_staff_id SMALLINT UNSIGNED NOT NULL,
  address_id       INT UNSIGNED      NOT NULL,
  last_update      TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  FOREIGN KEY (address_id) REFERENCES address (address_id)
);

CREATE TABLE IF NOT EXISTS customer (
  customer_id INT UNSIGNED      PRIMARY KEY AUTO_INCREMENT,
  store_id    SMALLINT UNSIGNED NOT NULL,
  first_name  VARCHAR(45)       NOT NULL,
  last_name   VARCHAR(45)       NOT NULL,
  email       VARCHAR(50),
  address_id  INT UNSIGNED      NOT NULL,
  active      BOOLEAN           NOT NULL DEFAULT TRUE,
  create_date DATETIME          NOT NULL COMMENT 'in UTC',
  last_update TIMESTAMP         DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  FOREIGN KEY (store_id) REFERENCES store (store_id),
  FOREIGN KEY (address_id) REFERENCES address (address_id)
);

CREATE TABLE IF NOT EXISTS users_change_events (
  event_id    BIGINT UNSIGNED   PRIMARY KEY AUTO_INCREMENT,
  customer_id INT UNSIGNED      NOT NULL,
  store_id    SMALLINT UNSIGNED NOT NULL,
  event_type  ENUM('INSERT', 'UPDATE', 'DELETE') NOT NULL,
  new_row     JSON,
  created_at  DATETIME          NOT NULL COMMENT 'create_date of the customer, in UTC',
  changed_at  TIMESTAMP(6)      NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);

CREATE TRIGGER IF NOT EXISTS customer_registered AFTER INSERT ON customer FOR EACH ROW
INSERT INTO users_change_events (customer_id, store_id, event_type, new_row, created_at)
VALUES (
  NEW.customer_id, NEW.store_id, 'INSERT',
  JSON_OBJECT('store_id', NEW.store_id, 'first_name', NEW.first_name, 'last_name', NEW.last_name,
              'email', NEW.email, 'address_id', NEW.address_id, 'active', NEW.active),
  NEW.create_date
);

CREATE TABLE IF NOT EXISTS latest_cdc_timestamp (
  id            TINYINT UNSIGNED PRIMARY KEY COMMENT 'always 1',
  cdc_timestamp TIMESTAMP(6)     NOT NULL COMMENT 'all batches before it are complete'
);
