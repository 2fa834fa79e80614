//! `data-gen events`: change events, straight into Kafka.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::Args;
use data_gen::events::{EventGenerator, EventsConfig, Summary};
use data_gen::kafka::{self, Published, Target};
use data_gen::units::{Rate, Share, parse_count, parse_duration};
use indicatif::{HumanBytes, HumanCount};

use super::progress;

/// Kafka's brokers refuse records whose timestamps are further ahead (`message.timestamp.after.max.ms`).
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

const EXAMPLES: &str = "Examples:
  # a million events, as fast as they go
  data-gen events --brokers localhost:9092 --topic shop.sakila.customer --total 1M

  # a thousand a second, in step with the clock, for an hour
  data-gen events --topic shop.sakila.customer --total 3600k --rate 1000/s --speed 1000/s --start now

  # a day's events, very disorderly, the same ones each time
  data-gen events --topic hard --total 864k --speed 10/s --start 2026-01-01 --seed 7 \\
    --out-of-order 2m --late 5% --updates 30% --deletes 10%";

/// Publish Debezium-JSON change events of a table `customer` to Kafka, for load and benchmarks
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EventsArguments {
    /// Brokers, as `host:port`, with commas between them
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    brokers: String,

    /// Topic; made when it is missing
    #[arg(long)]
    topic: String,

    /// Change events to publish, such as `500k` or `5M`; tombstones come on top
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    total: u64,

    /// At most so many events in a second [default: as many as Kafka takes]
    #[arg(long)]
    rate: Option<Rate>,

    /// Partitions of a new topic; one that is there keeps its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,

    /// Stores that customers register in
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    stores: u16,

    /// Registrations are out of order by up to so long
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    out_of_order: Duration,

    /// Share of the registrations that come minutes to hours later still
    #[arg(long, default_value = "0.1%")]
    late: Share,

    /// Share of the events that are updates: another store, or another e-mail address
    #[arg(long, default_value = "12%")]
    updates: Share,

    /// Share of the events that are deletes
    #[arg(long, default_value = "3%")]
    deletes: Share,

    /// Events in a second of event time
    #[arg(long, default_value = "1000/s")]
    speed: Rate,

    /// Event time of the first event: `2026-01-01`, `2026-01-01T12:00:00Z` or `now` [default: such that the last
    /// event is now]
    #[arg(long, value_parser = parse_start)]
    start: Option<DateTime<Utc>>,

    /// The same seed and start give the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Whether a tombstone, a record without a value, follows each delete
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    tombstones: bool,

    /// Further settings of librdkafka, such as `security.protocol=ssl`
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
}

pub(super) async fn run(arguments: EventsArguments) -> anyhow::Result<()> {
    let mut config = EventsConfig {
        total: arguments.total,
        stores: arguments.stores,
        seed: arguments.seed,
        partitions: arguments.partitions,
        start_ms: start_ms(arguments.start, arguments.speed, arguments.total, arguments.rate)?,
        speed: arguments.speed,
        out_of_order: arguments.out_of_order,
        late: arguments.late,
        updates: arguments.updates,
        deletes: arguments.deletes,
        tombstones: arguments.tombstones,
    };
    let target = Target { brokers: arguments.brokers, topic: arguments.topic, properties: arguments.properties };

    let topic = kafka::ensure_topic(&target, config.partitions).await?;
    config.partitions = topic.partitions;
    let verb = if topic.created { "created" } else { "found" };
    println!("{verb} topic `{}` with {} partitions", target.topic, topic.partitions);

    let rate = arguments.rate;
    let mut events = EventGenerator::new(config)?;
    let stop = stop_on_ctrl_c();
    let bar = progress::bar(Some(arguments.total), "events")?;
    let publishing = tokio::task::spawn_blocking(move || {
        let published = kafka::publish(&target, &mut events, rate, |sent| {
            bar.set_position(sent);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        published.map(|published| (published, events.summary().clone()))
    });
    let (published, summary) = publishing.await.context("cannot finish publishing")??;
    print_summary(&published, &summary);
    ensure_delivered(published)
}

pub(super) fn ensure_delivered(published: Published) -> anyhow::Result<()> {
    if published.undelivered > 0 {
        let reason = published.first_error.unwrap_or_else(|| "no reason given".to_owned());
        bail!("cannot deliver {} of {} records: {reason}", published.undelivered, published.records);
    }
    Ok(())
}

/// The base clock of the first event, in milliseconds since 1970: the one that was asked for, or else so that the last event is now.
/// Refuses events of a future that brokers would not take. With a `rate`, the clock goes on while the events go out.
pub(super) fn start_ms(
    start: Option<DateTime<Utc>>,
    speed: Rate,
    total: u64,
    rate: Option<Rate>,
) -> anyhow::Result<i64> {
    let (now, span_ms) = (Utc::now(), speed.span_ms(total));
    let start_ms =
        start.map_or_else(|| now.timestamp_millis().saturating_sub(span_ms), |start| start.timestamp_millis());
    let end_ms = start_ms.saturating_add(span_ms);
    let publishing = rate.map_or(Duration::ZERO, |rate| rate.time_for(total));
    let latest = publishing.saturating_add(AHEAD_MAX).as_millis();
    ensure!(
        i128::from(end_ms) - i128::from(now.timestamp_millis()) <= latest.cast_signed(),
        "cannot publish events up to {}: Kafka refuses records that are more than an hour ahead of the clock; \
         let them start earlier, or be fewer, or have a higher speed",
        iso(end_ms),
    );
    Ok(start_ms)
}

fn print_summary(published: &Published, summary: &Summary) {
    let events = summary.events();
    println!(
        "published {} events ({} records, {}) in {:.1} s: {} events/s",
        HumanCount(events),
        HumanCount(published.records),
        HumanBytes(summary.bytes),
        published.elapsed.as_secs_f64(),
        progress::per_second(events, published.elapsed),
    );
    println!(
        "  {} inserts (of these late: {}), {} updates ({}), {} deletes ({}), {} tombstones",
        HumanCount(summary.inserts),
        HumanCount(summary.late_inserts),
        HumanCount(summary.updates),
        progress::percent(summary.updates, events),
        HumanCount(summary.deletes),
        progress::percent(summary.deletes, events),
        HumanCount(summary.tombstones),
    );
    if let Some((first_ms, last_ms)) = summary.event_times_ms {
        println!("  event time from {} to {}", iso(first_ms), iso(last_ms));
    }
}

pub(super) fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopped.store(true, Ordering::Relaxed);
        }
    });
    stop
}

pub(super) fn iso(epoch_ms: i64) -> String {
    DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn parse_start(text: &str) -> Result<DateTime<Utc>, String> {
    if text == "now" {
        return Ok(Utc::now());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| format!("cannot read `{text}` as a time: write `2026-01-01`, `2026-01-01T12:00:00Z` or `now`"))
}

pub(super) fn parse_property(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("cannot read `{text}` as a setting: write `key=value`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        assert_eq!(parse_start("2026-01-01").map(|time| time.timestamp()), Ok(1_767_225_600));
        assert_eq!(parse_start("2026-01-01T01:00:00+01:00").map(|time| time.timestamp()), Ok(1_767_225_600));
        assert!(parse_start("2026-13-01").is_err());
    }

    #[test]
    fn events_of_the_future_are_refused() {
        let speed = Rate::THOUSAND_PER_SECOND;
        let start_ms = |start, rate| start_ms(start, speed, 10_000_000, rate);
        assert!(start_ms(Some(Utc::now()), None).is_err());
        assert!(start_ms(Some(Utc::now()), Some(Rate::THOUSAND_PER_SECOND)).is_ok());
        assert!(start_ms(None, None).unwrap() + 10_000_000 <= Utc::now().timestamp_millis());
    }

    #[test]
    fn properties() {
        assert_eq!(parse_property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_property("a").is_err());
    }
}
