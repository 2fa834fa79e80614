//! Highwater: streaming windowed analytics over change data, Kafka to ClickHouse, in SQL.
//!
//! The walk of one change event, with the modules that it passes:
//!
//! ```text
//!  source      a batch of raw records of one partition, with its range of offsets; no copy per record
//!    ▼         … from here to `window` one lane (a thread) owns the partition: `job::lane`
//!  format      the columns that some query needs, as Arrow; what cannot be decoded becomes a dead letter
//!    ▼
//!  change      ChangeBatch: op, images, positions, times. The one type that flows
//!    ├──────►  job::rows    rows of changelogs and mirrors, with their positions or versions
//!    ▼
//!  window      stage (filters, projections), assigner (which window), watermark (who is late), pane (the groups)
//!    ▼         … to here nothing is shared between lanes
//!  job::cycle  the cut: all lanes say where they stand; windows behind the watermark come in and are merged
//!    ▼
//!  sql         closing: HAVING, projection, ORDER BY, LIMIT over the rows of a closed window
//!    ▼
//!  checkpoint  the epoch: positions, watermarks, open windows, and the intents of its blocks. Durable first
//!    ▼
//!  sink        the blocks, each under a token that is a function of what is in it
//! ```
//!
//! `sql` turns query files into the pipelines that do this, before anything is read. `cli` starts it, `server` shows it.
//! Dependencies point one way: `cli, server → job → {sql, source, format, window, checkpoint, sink} → change, error,
//! options`. `window` knows nothing of Kafka or ClickHouse; `sink` nothing of windows; only `job` wires.
//!
//! ARCHITECTURE.md tells the same at more length.

mod avro;
pub mod change;
pub mod checkpoint;
pub mod cli;
pub mod connector;
pub mod error;
pub mod format;
pub mod job;
pub mod options;
pub mod server;
pub mod sink;
pub mod source;
pub mod sql;
pub mod stable_hash;
pub mod state;
pub mod telemetry;
pub mod testing;
pub mod type_name;
pub mod verify;
pub mod window;
