-- The tables of a shop, after MySQL's sample database sakila, in PostgreSQL. Every statement does nothing when its
-- object is there. Runs with `search_path` on the schema.
-- Times without zone have milliseconds, so that Debezium writes them as it writes MySQL's DATETIME.

CREATE TABLE IF NOT EXISTS address (
  address_id  SERIAL      PRIMARY KEY,
  address     VARCHAR(50) NOT NULL,
  address2    VARCHAR(50),
  district    VARCHAR(20) NOT NULL,
  city_id     SMALLINT    NOT NULL,
  postal_code VARCHAR(10),
  phone       VARCHAR(20) NOT NULL,
  last_update TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS store (
  store_id         SERIAL      PRIMARY KEY,
  manager_staff_id INT         NOT NULL,
  address_id       INT         NOT NULL REFERENCES address,
  last_update      TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS customer (
  customer_id SERIAL       PRIMARY KEY,
  store_id    INT          NOT NULL REFERENCES store,
  first_name  VARCHAR(45)  NOT NULL,
  last_name   VARCHAR(45)  NOT NULL,
  email       VARCHAR(50),
  address_id  INT          NOT NULL REFERENCES address,
  active      BOOLEAN      NOT NULL DEFAULT TRUE,
  create_date TIMESTAMP(3) NOT NULL,
  last_update TIMESTAMPTZ  DEFAULT now()
);
COMMENT ON COLUMN customer.create_date IS 'in UTC';

-- Without it Debezium's updates have no before image, and its deletes only the key.
ALTER TABLE customer REPLICA IDENTITY FULL;

CREATE TABLE IF NOT EXISTS users_change_events (
  event_id    BIGSERIAL    PRIMARY KEY,
  customer_id INT          NOT NULL,
  store_id    INT          NOT NULL,
  event_type  TEXT         NOT NULL,
  new_row     JSONB,
  created_at  TIMESTAMP(3) NOT NULL,
  changed_at  TIMESTAMPTZ  NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN users_change_events.created_at IS 'create_date of the customer, in UTC';

CREATE OR REPLACE FUNCTION sakila.customer_registered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sakila.users_change_events (customer_id, store_id, event_type, new_row, created_at)
  VALUES (NEW.customer_id, NEW.store_id, TG_OP, to_jsonb(NEW), NEW.create_date);
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION sakila.customer_touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.last_update := now();
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER customer_registered AFTER INSERT ON customer
FOR EACH ROW EXECUTE FUNCTION sakila.customer_registered();

-- What MySQL's ON UPDATE CURRENT_TIMESTAMP does.
CREATE OR REPLACE TRIGGER customer_touched BEFORE UPDATE ON customer
FOR EACH ROW EXECUTE FUNCTION sakila.customer_touched();

CREATE TABLE IF NOT EXISTS latest_cdc_timestamp (
  id            SMALLINT    PRIMARY KEY,
  cdc_timestamp TIMESTAMPTZ NOT NULL
);
COMMENT ON COLUMN latest_cdc_timestamp.id IS 'always 1';
COMMENT ON COLUMN latest_cdc_timestamp.cdc_timestamp IS 'all batches before it are complete';

-- Only a superuser may publish a whole schema; any owner may publish tables.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'dbz_all') THEN
    BEGIN
      CREATE PUBLICATION dbz_all FOR TABLES IN SCHEMA sakila;
    EXCEPTION WHEN insufficient_privilege THEN
      CREATE PUBLICATION dbz_all FOR TABLE
        sakila.address, sakila.store, sakila.customer, sakila.users_change_events, sakila.latest_cdc_timestamp;
    END;
  END IF;
END $$;
