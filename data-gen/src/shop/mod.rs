//! Fills the tables of a shop in MySQL, MariaDB or PostgreSQL, as customers would: they register, move to another
//! store, change their e-mail address and leave.
//!
//! ```text
//! ShopConfig ─► plan: what happens next, from the seed alone ─► batch: one transaction ─► tables
//!                                                               └ statements: the SQL of each database
//! ```
//!
//! The plan knows nothing of the database, so that the same seed gives the same rows everywhere: all but the times,
//! and the identifiers when the tables were not empty.

mod batch;
mod plan;
mod statements;

use std::str::FromStr;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Row};

use crate::units::Share;
use batch::Batch;
use plan::{Action, Plan};
use statements::Statements;

/// The database of MySQL and the schema of PostgreSQL that is filled.
pub const SCHEMA: &str = "sakila";

/// What happens in the shop.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopConfig {
    /// Stores to register in; missing ones are opened.
    pub stores: u16,
    /// Share of all changes that are updates.
    pub updates: Share,
    /// Share of all changes that are deletes.
    pub deletes: Share,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for ShopConfig {
    fn default() -> Self {
        Self { stores: 10, updates: Share::percent(10.0), deletes: Share::percent(2.0), seed: 1 }
    }
}

/// Why the shop cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// No URL of a database that is known here.
    #[error(
        "cannot read the database's URL: write `mysql://user:password@host:port` \
         or `postgres://user:password@host:port/database`"
    )]
    Url,
    /// Something that cannot happen in a shop.
    #[error("cannot fill a shop: {0}")]
    Config(&'static str),
    /// The database does not answer, or does not let us in.
    #[error("cannot connect to `{address}`")]
    Connect {
        /// Host and port.
        address: String,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// The tables cannot be made, or look different.
    #[error("cannot prepare the tables of `{SCHEMA}`")]
    Prepare(#[source] sqlx::Error),
    /// The database refused a change; the batch has been rolled back.
    #[error("cannot write batch {batch} to `{SCHEMA}`")]
    Write {
        /// The batch's number, from 1.
        batch: u64,
        /// What the database says.
        source: sqlx::Error,
    },
}

/// What has happened in the shop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShopSummary {
    /// Transactions.
    pub batches: u64,
    /// Customers who registered.
    pub registered: u64,
    /// Customers who moved to another store.
    pub moved: u64,
    /// Customers who changed their e-mail address.
    pub emails_changed: u64,
    /// Customers who left.
    pub left: u64,
}

impl ShopSummary {
    /// All changes of the table `customer`.
    pub const fn changes(&self) -> u64 {
        self.registered + self.moved + self.emails_changed + self.left
    }

    const fn count(&mut self, action: &Action) {
        match action {
            Action::Register(_) => self.registered += 1,
            Action::Move { .. } => self.moved += 1,
            Action::ChangeEmail { .. } => self.emails_changed += 1,
            Action::Leave(_) => self.left += 1,
        }
    }
}

/// A shop that is open: a connection, and what happens next.
#[derive(Debug)]
pub struct Shop {
    connection: AnyConnection,
    statements: &'static Statements,
    plan: Plan,
    /// Identifiers of the stores; the plan counts them from 0.
    store_ids: Vec<i64>,
    summary: ShopSummary,
}

impl Shop {
    /// Connects, and makes the database or schema, the tables and the stores that are missing.
    ///
    /// `url` is `mysql://user:password@host:port` (also for MariaDB; a database in it is not used) or
    /// `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or the user may not make tables in it.
    pub async fn open(url: &str, config: &ShopConfig) -> Result<Self, ShopError> {
        let plan = Plan::new(config).map_err(ShopError::Config)?;
        sqlx::any::install_default_drivers();
        let mut options = AnyConnectOptions::from_str(url).map_err(|_| ShopError::Url)?;
        let statements = Statements::of(options.database_url.scheme()).ok_or(ShopError::Url)?;
        if !statements.connects_to_database {
            // It may not be there yet.
            options.database_url.set_path("");
        }
        let url = &options.database_url;
        let address = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(statements.port));
        let connection = options.connect().await.map_err(|source| ShopError::Connect { address, source })?;
        let mut shop = Self { connection, statements, plan, store_ids: Vec::new(), summary: ShopSummary::default() };
        shop.prepare(config.stores).await.map_err(ShopError::Prepare)?;
        Ok(shop)
    }

    /// What has happened since the shop was opened.
    pub const fn summary(&self) -> &ShopSummary {
        &self.summary
    }

    async fn prepare(&mut self, stores: u16) -> sqlx::Result<()> {
        for sql in [self.statements.use_schema, self.statements.create_tables] {
            sqlx::raw_sql(sql).execute(&mut self.connection).await?;
        }
        let rows = sqlx::query(self.statements.select_store_ids).fetch_all(&mut self.connection).await?;
        let mut store_ids = rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<i64>>>()?;
        let mut batch = Batch::begin(&mut self.connection, self.statements).await?;
        for number in 1..=stores {
            // Drawn for the stores that are there too, so that what comes after them is the same.
            let address = self.plan.next_store_address();
            if usize::from(number) > store_ids.len() {
                store_ids.push(batch.open_store(number, &address).await?);
            }
        }
        batch.commit().await?;
        store_ids.truncate(usize::from(stores));
        self.store_ids = store_ids;
        Ok(())
    }

    /// Lets `registrations` customers register, and others move, change and leave between them, in one transaction.
    ///
    /// # Errors
    ///
    /// When the database refuses a change. The batch has then left no trace in it, but the plan has gone on: open
    /// another shop.
    pub async fn run_batch(&mut self, registrations: u16) -> Result<(), ShopError> {
        let number = self.summary.batches + 1;
        self.write_batch(registrations).await.map_err(|source| ShopError::Write { batch: number, source })
    }

    async fn write_batch(&mut self, registrations: u16) -> sqlx::Result<()> {
        let mut summary = self.summary;
        let registered_at_end = summary.registered + u64::from(registrations);
        let mut batch = Batch::begin(&mut self.connection, self.statements).await?;
        while summary.registered < registered_at_end {
            let action = self.plan.next_action();
            summary.count(&action);
            if let Some(customer) = batch.apply(action, &self.store_ids).await? {
                self.plan.add(customer);
            }
        }
        batch.commit().await?;
        // After the commit, so that every row of the batch is older.
        sqlx::query(self.statements.set_latest_timestamp).execute(&mut self.connection).await?;
        summary.batches += 1;
        self.summary = summary;
        Ok(())
    }
}
