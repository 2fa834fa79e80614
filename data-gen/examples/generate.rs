//! How fast events are made on one core, when nobody takes them:
//! `cargo run --release -p data-gen --no-default-features --example generate`

use std::time::Instant;

use data_gen::events::{ConfigError, EventGenerator, EventsConfig};

fn main() -> Result<(), ConfigError> {
    let mut events = EventGenerator::new(EventsConfig { total: 5_000_000, ..EventsConfig::default() })?;
    let started = Instant::now();
    while let Some(event) = events.next_event() {
        std::hint::black_box(event);
    }
    let (seconds, summary) = (started.elapsed().as_secs_f64(), events.summary());
    println!(
        "{} events of {} bytes each in {seconds:.2} s: {:.0} events/s",
        summary.events(),
        summary.bytes / summary.events(),
        summary.events() as f64 / seconds,
    );
    Ok(())
}
