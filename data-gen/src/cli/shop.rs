//! `data-gen shop`: a shop in a database.

use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;
use data_gen::shop::{SCHEMA, Shop, ShopConfig};
use data_gen::units::{Rate, Share, parse_count};
use indicatif::HumanCount;

use super::progress;

const EXAMPLES: &str = "Examples:
  # until Ctrl-C, as fast as the database takes them
  data-gen shop --database mysql://root@localhost:3306

  # a hundred customers a second, ten thousand in all
  data-gen shop --database postgres://postgres@localhost:5432/postgres --rate 100/s --total 10k

  # many changes of few customers, the same ones each time in empty tables
  data-gen shop --database mysql://root@localhost:3306 --total 100 --seed 7 \\
    --updates 70% --deletes 10%

For Debezium, MySQL and MariaDB need a binlog with full rows, and PostgreSQL wal_level=logical;
the publication `dbz_all` and full before images are set up here.";

/// Fill the tables of a shop in MySQL, MariaDB or PostgreSQL: customers register, move, change and leave
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShopArguments {
    /// `mysql://user:password@host:port` or `postgres://user:password@host:port/database`; the database `sakila` in
    /// MySQL and MariaDB, the schema `sakila` in PostgreSQL, and the tables are made when they are missing
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: String,

    /// Customers who register in each transaction
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// At most so many customers register in a second [default: as many as the database takes]
    #[arg(long)]
    rate: Option<Rate>,

    /// Customers who register in all [default: no end]
    #[arg(long, value_parser = parse_count)]
    total: Option<u64>,

    /// Stores that customers register in; missing ones are opened
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    stores: u16,

    /// Share of the changes that are updates: another store, or another e-mail address
    #[arg(long, default_value = "10%")]
    updates: Share,

    /// Share of the changes that are deletes
    #[arg(long, default_value = "2%")]
    deletes: Share,

    /// The same seed gives the same rows in empty tables, all but the times
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) async fn run(arguments: ShopArguments) -> anyhow::Result<()> {
    let ShopArguments { database, batch, rate, total, stores, updates, deletes, seed } = arguments;
    let mut shop = Shop::open(&database, &ShopConfig { stores, updates, deletes, seed }).await?;
    println!("tables of `{SCHEMA}` are ready, {stores} stores are open");

    let bar = progress::bar(total, "customers")?;
    let started = Instant::now();
    let mut ctrl_c = pin!(tokio::signal::ctrl_c());
    loop {
        let registered = shop.summary().registered;
        let left = total.map_or(u64::MAX, |total| total.saturating_sub(registered));
        if left == 0 {
            break;
        }
        // Never interrupted: a batch is complete or it is not there.
        shop.run_batch(u16::try_from(left).map_or(batch, |left| left.min(batch))).await?;
        let registered = shop.summary().registered;
        bar.set_position(registered);

        let due = rate.map_or(Duration::ZERO, |rate| rate.time_for(registered));
        tokio::select! {
            biased;
            _ = &mut ctrl_c => break,
            () = tokio::time::sleep_until((started + due).into()) => {}
        }
    }
    bar.finish_and_clear();
    print_summary(&shop, started.elapsed());
    Ok(())
}

fn print_summary(shop: &Shop, elapsed: Duration) {
    let summary = shop.summary();
    println!(
        "{} customers registered in {} batches and {:.1} s: {} customers/s",
        HumanCount(summary.registered),
        HumanCount(summary.batches),
        elapsed.as_secs_f64(),
        progress::per_second(summary.registered, elapsed),
    );
    println!(
        "  {} moved to another store, {} changed their e-mail address, {} left: {} changes in all",
        HumanCount(summary.moved),
        HumanCount(summary.emails_changed),
        HumanCount(summary.left),
        HumanCount(summary.changes()),
    );
}
