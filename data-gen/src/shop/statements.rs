//! The SQL of each kind of database.

/// The statements of one kind of database. Their parameters are in the same order in all.
#[derive(Debug)]
pub(super) struct Statements {
    /// The port when the URL gives none.
    pub(super) port: u16,
    /// Whether the URL names a database to connect to, which holds the schema.
    pub(super) connects_to_database: bool,
    /// Makes the schema and makes it the connection's own.
    pub(super) use_schema: &'static str,
    pub(super) create_tables: &'static str,
    pub(super) select_store_ids: &'static str,
    /// Whether inserts return the identifier as a row; otherwise it comes with the result.
    pub(super) inserts_return_id: bool,
    /// street, second line, district, city, postal code, phone.
    pub(super) insert_address: &'static str,
    /// manager, address.
    pub(super) insert_store: &'static str,
    /// store, given name, family name, e-mail, address.
    pub(super) insert_customer: &'static str,
    /// store, customer.
    pub(super) update_store: &'static str,
    /// e-mail, customer.
    pub(super) update_email: &'static str,
    /// customer.
    pub(super) delete_customer: &'static str,
    /// address.
    pub(super) delete_address: &'static str,
    pub(super) set_latest_timestamp: &'static str,
}

impl Statements {
    /// The statements for a URL's scheme; `None` when there are none.
    pub(super) fn of(scheme: &str) -> Option<&'static Self> {
        match scheme {
            "mysql" | "mariadb" => Some(&MYSQL),
            "postgres" | "postgresql" => Some(&POSTGRES),
            _ => None,
        }
    }
}

static MYSQL: Statements = Statements {
    port: 3306,
    connects_to_database: false,
    use_schema: "CREATE DATABASE IF NOT EXISTS sakila CHARACTER SET utf8mb4; USE sakila",
    create_tables: include_str!("mysql.sql"),
    select_store_ids: "SELECT CAST(store_id AS SIGNED) FROM store ORDER BY store_id",
    inserts_return_id: false,
    insert_address: "INSERT INTO address (address, address2, district, city_id, postal_code, phone) \
                     VALUES (?, ?, ?, ?, ?, ?)",
    insert_store: "INSERT INTO store (manager_staff_id, address_id) VALUES (?, ?)",
    insert_customer: "INSERT INTO customer (store_id, first_name, last_name, email, address_id, create_date) \
                      VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP())",
    update_store: "UPDATE customer SET store_id = ? WHERE customer_id = ?",
    update_email: "UPDATE customer SET email = ? WHERE customer_id = ?",
    delete_customer: "DELETE FROM customer WHERE customer_id = ?",
    delete_address: "DELETE FROM address WHERE address_id = ?",
    set_latest_timestamp: "INSERT INTO latest_cdc_timestamp (id, cdc_timestamp) VALUES (1, CURRENT_TIMESTAMP(6)) \
                           ON DUPLICATE KEY UPDATE cdc_timestamp = VALUES(cdc_timestamp)",
};

static POSTGRES: Statements = Statements {
    port: 5432,
    connects_to_database: true,
    // Without the notices that each object is there already.
    use_schema: "SET client_min_messages TO warning; CREATE SCHEMA IF NOT EXISTS sakila; \
                 SET search_path TO sakila, public",
    create_tables: include_str!("postgres.sql"),
    select_store_ids: "SELECT CAST(store_id AS BIGINT) FROM store ORDER BY store_id",
    inserts_return_id: true,
    insert_address: "INSERT INTO address (address, address2, district, city_id, postal_code, phone) \
                     VALUES ($1, $2, $3, $4, $5, $6) RETURNING CAST(address_id AS BIGINT)",
    insert_store: "INSERT INTO store (manager_staff_id, address_id) VALUES ($1, $2) \
                   RETURNING CAST(store_id AS BIGINT)",
    // The clock, because now() would be the beginning of the transaction.
    insert_customer: "INSERT INTO customer (store_id, first_name, last_name, email, address_id, create_date) \
                      VALUES ($1, $2, $3, $4, $5, clock_timestamp() AT TIME ZONE 'UTC') \
                      RETURNING CAST(customer_id AS BIGINT)",
    update_store: "UPDATE customer SET store_id = $1 WHERE customer_id = $2",
    update_email: "UPDATE customer SET email = $1 WHERE customer_id = $2",
    delete_customer: "DELETE FROM customer WHERE customer_id = $1",
    delete_address: "DELETE FROM address WHERE address_id = $1",
    set_latest_timestamp: "INSERT INTO latest_cdc_timestamp (id, cdc_timestamp) VALUES (1, clock_timestamp()) \
                           ON CONFLICT (id) DO UPDATE SET cdc_timestamp = excluded.cdc_timestamp",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_choose_the_database() {
        for (scheme, port) in
            [("mysql", Some(3306)), ("postgres", Some(5432)), ("postgresql", Some(5432)), ("http", None)]
        {
            assert_eq!(Statements::of(scheme).map(|statements| statements.port), port, "{scheme}");
        }
    }
}
