//! The database that is the source: MySQL, MariaDB or PostgreSQL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::canon::Kind;
use super::dialect::Dialect;
use super::rows::TextRow;
use crate::error::{Error, Result};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a source.
pub struct Source {
    connection: AnyConnection,
    place: String,
    /// The database that tables without one are in.
    database: Option<String>,
}

enum AnyConnection {
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

/// A table of the source: database (in PostgreSQL: schema) and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// Database or schema.
    pub schema: String,
    /// Its name there.
    pub name: String,
}

/// A column of the source.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its type, as the database names it.
    pub type_name: String,
    /// How it is compared, if it can be.
    pub kind: Option<Kind>,
}

/// What the source knows of a table.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its columns, in order.
    pub columns: Vec<SourceColumn>,
    /// Its primary key, in order; empty when it has none.
    pub primary_key: Vec<String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Display for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl SourceTable {
    /// Quoted, for SQL.
    pub fn quoted(&self, dialect: Dialect) -> String {
        format!("{}.{}", dialect.name(&self.schema), dialect.name(&self.name))
    }
}

impl Source {
    /// Connects to `mysql://`, `mariadb://` or `postgres://[user[:password]@]host[:port][/database]`; `password` goes before
    /// what the URL says. `writes`: whether the session may change anything.
    pub async fn connect(url: &str, password: Option<&str>, writes: bool) -> Result<Self> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", ""));
        // Neither the error nor the place repeats the user's password.
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split(['?', '#']).next().unwrap_or_default();
        let place = format!("{scheme}://{host}");
        let wrong = || {
            Error::config(
                "--source is no URL of a database, expected one such as 'mysql://user@host:3306/shop', \
                 'mariadb://…' or 'postgres://user@host:5432/shop'",
            )
        };
        let connection = match scheme {
            "mysql" | "mariadb" => {
                let url = format!("mysql://{rest}");
                let mut options = MySqlConnectOptions::from_str(&url).map_err(|_| wrong())?.charset("utf8mb4");
                options = password.into_iter().fold(options, |options, password| options.password(password));
                AnyConnection::MySql(connected(&place, options.disable_statement_logging().connect()).await?)
            }
            "postgres" | "postgresql" => {
                let mut options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
                options = password.into_iter().fold(options, |options, password| options.password(password));
                options = options.application_name("highwater verify");
                AnyConnection::Postgres(connected(&place, options.disable_statement_logging().connect()).await?)
            }
            _ => return Err(wrong()),
        };
        let mut source = Self { connection, place, database: None };
        let (utc, read_only, database) = match source.dialect() {
            Dialect::MySql => ("SET time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY", "SELECT DATABASE()"),
            _ => ("SET TIME ZONE 'UTC'", "SET default_transaction_read_only = on", "SELECT current_schema()"),
        };
        source.execute(utc).await?;
        if !writes {
            source.execute(read_only).await?;
        }
        source.database =
            source.rows(database).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        Ok(source)
    }

    /// How it says things.
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            AnyConnection::MySql(_) => Dialect::MySql,
            AnyConnection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Its URL without user and password, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The table of a name such as `sakila.customer` or `customer`.
    pub fn table(&self, name: &str) -> Result<SourceTable> {
        let (schema, name) = match name.split_once('.') {
            Some((schema, name)) => (schema.to_owned(), name.to_owned()),
            None => {
                let missing = || {
                    Error::config(format!(
                        "table \"{name}\": which database is it in? Write database.{name}, or name it in --source"
                    ))
                };
                (self.database.clone().ok_or_else(missing)?, name.to_owned())
            }
        };
        Ok(SourceTable { schema, name })
    }

    /// The rows of a query whose columns are all texts.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        // Not prepared: the simple protocol sends texts, whatever the types are.
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let rows = match &mut self.connection {
            AnyConnection::MySql(connection) => {
                query.fetch_all(connection).await.map(|rows| rows.iter().map(texts).collect())
            }
            AnyConnection::Postgres(connection) => {
                query.fetch_all(connection).await.map(|rows| rows.iter().map(texts).collect())
            }
        };
        rows.and_then(|rows: Vec<_>| rows.into_iter().collect()).map_err(|error| self.failed("cannot query", error))
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&mut self, sql: &str) -> Result<u64> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match &mut self.connection {
            AnyConnection::MySql(connection) => query.execute(connection).await.map(|done| done.rows_affected()),
            AnyConnection::Postgres(connection) => query.execute(connection).await.map(|done| done.rows_affected()),
        };
        done.map_err(|error| self.failed("cannot change rows of", error))
    }

    fn failed(&self, what: &str, error: sqlx::Error) -> Error {
        Error::permanent(format!("{what} the source at {}", self.place), error)
    }

    /// Columns and primary key of a table.
    pub async fn describe(&mut self, table: &SourceTable) -> Result<Described> {
        let dialect = self.dialect();
        let (schema, name) = (dialect.text(&table.schema), dialect.text(&table.name));
        let (columns, key) = match dialect {
            Dialect::MySql => (
                format!(
                    "SELECT CONVERT(COLUMN_NAME USING utf8mb4), CONVERT(COLUMN_TYPE USING utf8mb4), \
                     CONVERT(LOWER(DATA_TYPE) USING utf8mb4), '', CAST(COALESCE(DATETIME_PRECISION, 0) AS CHAR) \
                     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name} \
                     ORDER BY ORDINAL_POSITION"
                ),
                format!(
                    "SELECT CONVERT(COLUMN_NAME USING utf8mb4) FROM information_schema.STATISTICS \
                     WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name} AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
                ),
            ),
            _ => (
                // Of a domain, the type below it.
                format!(
                    "SELECT c.column_name::text, format_type(a.atttypid, a.atttypmod), \
                     CASE c.data_type WHEN 'USER-DEFINED' THEN c.udt_name::text ELSE c.data_type::text END, \
                     coalesce(t.typtype::text, ''), coalesce(c.datetime_precision, 6)::text \
                     FROM information_schema.columns c \
                     JOIN pg_catalog.pg_attribute a ON a.attname = c.column_name \
                      AND a.attrelid = (quote_ident(c.table_schema) || '.' || quote_ident(c.table_name))::regclass \
                     LEFT JOIN pg_catalog.pg_type t ON t.typname = c.udt_name \
                      AND t.typnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = c.udt_schema) \
                     WHERE c.table_schema = {schema} AND c.table_name = {name} ORDER BY c.ordinal_position"
                ),
                format!(
                    "SELECT a.attname::text FROM pg_catalog.pg_index i \
                     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                     JOIN pg_catalog.pg_class r ON r.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace \
                     WHERE i.indisprimary AND n.nspname = {schema} AND r.relname = {name} ORDER BY k.place"
                ),
            ),
        };
        let columns: Vec<SourceColumn> =
            self.rows(&columns).await?.into_iter().map(|row| column(dialect, row)).collect();
        if columns.is_empty() {
            return Err(Error::config(format!(
                "there is no table {table} at {}, or the user may not see it; write --table DATABASE.TABLE (PostgreSQL: SCHEMA.TABLE)",
                self.place
            )));
        }
        let key = self.rows(&key).await?;
        Ok(Described {
            columns,
            primary_key: key.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect(),
        })
    }
}

async fn connected<C>(place: &str, connecting: impl Future<Output = Result<C, sqlx::Error>>) -> Result<C> {
    let context = format!("cannot connect to the source at {place}");
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Error::permanent(context, error)),
        Err(_) => Err(Error::permanent(context, format!("no answer within {CONNECT_TIMEOUT:?}"))),
    }
}

/// All values of a row as texts.
fn texts<R: Row>(row: &R) -> Result<TextRow, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    for<'a> String: sqlx::Decode<'a, R::Database>,
    String: sqlx::Type<R::Database>,
{
    (0..row.len()).map(|at| row.try_get_unchecked::<Option<String>, _>(at)).collect()
}

/// A column from its description: name, full type, type, PostgreSQL's kind of type, digits of a second.
fn column(dialect: Dialect, row: TextRow) -> SourceColumn {
    let mut row = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || row.next().unwrap_or_default();
    let (name, type_name, base, group, digits) = (next(), next(), next(), next(), next());
    let digits = digits.parse().unwrap_or(6);
    let kind = match dialect {
        Dialect::MySql => mysql_kind(&base, &type_name, digits),
        _ => postgres_kind(&base, &group, digits),
    };
    SourceColumn { name, type_name, kind }
}

fn mysql_kind(base: &str, full: &str, digits: u8) -> Option<Kind> {
    Some(match base {
        "bit" if full == "bit(1)" => Kind::Boolean,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Integer,
        "decimal" => Kind::Decimal,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "date" => Kind::Date,
        "datetime" | "timestamp" => Kind::Timestamp(digits),
        "time" => Kind::Time(digits),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Kind::Text,
        "uuid" | "inet4" | "inet6" => Kind::Text,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
        "json" => Kind::Json,
        _ => return None,
    })
}

fn postgres_kind(base: &str, group: &str, digits: u8) -> Option<Kind> {
    Some(match base {
        "smallint" | "integer" | "bigint" | "oid" => Kind::Integer,
        "boolean" => Kind::Boolean,
        "numeric" => Kind::Decimal,
        "real" => Kind::Float,
        "double precision" => Kind::Double,
        "date" => Kind::Date,
        "timestamp without time zone" | "timestamp with time zone" => Kind::Timestamp(digits),
        "time without time zone" => Kind::Time(digits),
        "character" | "character varying" | "text" | "citext" | "name" | "xml" => Kind::Text,
        "inet" | "cidr" | "macaddr" | "macaddr8" | "ltree" => Kind::Text,
        "uuid" => Kind::Uuid,
        "bytea" => Kind::Bytes,
        "json" | "jsonb" => Kind::Json,
        "ARRAY" => Kind::Array,
        _ if group == "e" => Kind::Text,
        _ => return None,
    })
}
