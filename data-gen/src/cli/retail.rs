//! `data-gen retail`: sales and stock movements, straight into Kafka.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use data_gen::kafka::{self, Target};
use data_gen::retail::{Kind, RetailConfig, RetailGenerator, Summary};
use data_gen::units::{Rate, Share, parse_count, parse_duration};
use indicatif::{HumanBytes, HumanCount};

use super::events::{ensure_delivered, iso, parse_property, parse_start, start_ms, stop_on_ctrl_c};
use super::progress;

const EXAMPLES: &str = "Examples:
  # a million events, as fast as they go
  data-gen retail --total 1M

  # ten thousand a second, in step with the clock, times in any form of ISO 8601
  data-gen retail --total 3600k --rate 10k/s --speed 10k/s --start now --any-iso

  # disorderly, the same ones each time
  data-gen retail --total 100k --start 2026-01-01 --seed 7 --out-of-order 2m --late 5%";

/// Publish sales and stock movements as plain JSON to two topics of Kafka
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RetailArguments {
    /// Brokers, as `host:port`, with commas between them
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    brokers: String,

    /// Topic of the sales; made when it is missing
    #[arg(long, default_value = Kind::Sale.topic())]
    sales_topic: String,

    /// Topic of the stock movements; made when it is missing
    #[arg(long, default_value = Kind::Movement.topic())]
    warehouse_topic: String,

    /// Events to publish, such as `500k` or `5M`
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    total: u64,

    /// Share of the events that are sales
    #[arg(long, default_value = "70%")]
    sales: Share,

    /// At most so many events in a second [default: as many as Kafka takes]
    #[arg(long)]
    rate: Option<Rate>,

    /// Partitions of a new topic; one that is there keeps its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,

    /// Stores that sell
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    stores: u16,

    /// Products that are sold
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    products: u32,

    /// Events are out of order by up to so long
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    out_of_order: Duration,

    /// Share of the events that come minutes to hours later still
    #[arg(long, default_value = "0.1%")]
    late: Share,

    /// Events in a second of event time
    #[arg(long, default_value = "1000/s")]
    speed: Rate,

    /// Event time of the first event: `2026-01-01`, `2026-01-01T12:00:00Z` or `now` [default: such that the last
    /// event is now]
    #[arg(long, value_parser = parse_start)]
    start: Option<DateTime<Utc>>,

    /// Write times in several forms of ISO 8601 instead of one: other fractions, other offsets
    #[arg(long)]
    any_iso: bool,

    /// The same seed and start give the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Further settings of librdkafka, such as `security.protocol=ssl`
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
}

pub(super) async fn run(arguments: RetailArguments) -> anyhow::Result<()> {
    let mut config = RetailConfig {
        total: arguments.total,
        sales: arguments.sales,
        stores: arguments.stores,
        products: arguments.products,
        seed: arguments.seed,
        partitions: arguments.partitions,
        start_ms: start_ms(arguments.start, arguments.speed, arguments.total, arguments.rate)?,
        speed: arguments.speed,
        out_of_order: arguments.out_of_order,
        late: arguments.late,
        any_iso: arguments.any_iso,
    };
    let rate = arguments.rate;
    let topics = [arguments.sales_topic, arguments.warehouse_topic];
    let target = Target { brokers: arguments.brokers, topic: topics[0].clone(), properties: arguments.properties };
    for name in &topics {
        let topic =
            kafka::ensure_topic(&Target { topic: name.clone(), ..target.clone() }, arguments.partitions).await?;
        let verb = if topic.created { "created" } else { "found" };
        println!("{verb} topic `{name}` with {} partitions", topic.partitions);
        // Both have at least so many.
        config.partitions = config.partitions.min(topic.partitions);
    }

    let mut events = RetailGenerator::new(config)?;
    let stop = stop_on_ctrl_c();
    let bar = progress::bar(Some(arguments.total), "events")?;
    let publishing = tokio::task::spawn_blocking(move || {
        let names = topics.each_ref().map(String::as_str);
        let published = kafka::publish_to(&target, &names, &mut events, rate, |sent| {
            bar.set_position(sent);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        published.map(|published| (published, events.summary().clone()))
    });
    let (published, summary) = publishing.await.context("cannot finish publishing")??;
    print_summary(published.elapsed, &summary);
    ensure_delivered(published)
}

fn print_summary(elapsed: Duration, summary: &Summary) {
    let events = summary.events();
    println!(
        "published {} events ({}) in {:.1} s: {} events/s",
        HumanCount(events),
        HumanBytes(summary.bytes),
        elapsed.as_secs_f64(),
        progress::per_second(events, elapsed),
    );
    println!(
        "  {} sales ({}), {} stock movements ({}); of these late: {}",
        HumanCount(summary.sales),
        progress::percent(summary.sales, events),
        HumanCount(summary.movements),
        progress::percent(summary.movements, events),
        HumanCount(summary.late),
    );
    if let Some((first_ms, last_ms)) = summary.event_times_ms {
        println!("  event time from {} to {}", iso(first_ms), iso(last_ms));
    }
}
