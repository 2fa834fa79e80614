//! Debezium's envelope around the rows, as its MariaDB connector writes it without schemas and, as by default, without
//! transaction metadata.

use super::customers::{Customer, RowWriter};
use super::generator::Op;
use super::text::{push_binlog_name, push_i64, push_u64};

/// MariaDB begins a new binlog at this size (`max_binlog_size`).
const BINLOG_BYTES_MAX: u64 = 1 << 30;

/// The first position in a binlog after its header.
const BINLOG_START: u64 = 4;

/// How long after the change Debezium has made the event, in microseconds.
const CAPTURE_LAG_US: i64 = 20_000;

/// A position in the binlog, and the number of the transaction there.
#[derive(Debug)]
pub(super) struct BinlogPosition {
    transaction: u64,
    file: u32,
    position: u64,
}

impl Default for BinlogPosition {
    fn default() -> Self {
        Self { transaction: 0, file: 1, position: BINLOG_START }
    }
}

impl BinlogPosition {
    /// Moves on by one transaction with one change.
    pub(super) fn advance(&mut self, op: Op) {
        self.transaction += 1;
        // About what the transaction takes: both images for an update, and the markers around them.
        self.position += if op == Op::Update { 420 } else { 310 };
        if self.position > BINLOG_BYTES_MAX {
            self.file += 1;
            self.position = BINLOG_START;
        }
    }
}

/// One change, as it goes into an envelope.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) op: Op,
    pub(super) before: Option<&'a Customer>,
    pub(super) after: Option<&'a Customer>,
    /// When it was made, in microseconds since 1970.
    pub(super) made_us: i64,
    pub(super) at: &'a BinlogPosition,
}

impl Change<'_> {
    /// When Debezium saw it, in milliseconds since 1970; never before it was made.
    pub(super) fn captured_ms(&self) -> i64 {
        self.captured_us().div_euclid(1000)
    }

    fn captured_us(&self) -> i64 {
        self.made_us + CAPTURE_LAG_US
    }

    /// Replaces the contents of `out` by the event's value.
    pub(super) fn write(&self, out: &mut Vec<u8>, rows: &RowWriter) {
        out.clear();
        out.extend_from_slice(b"{\"before\":");
        push_image(out, self.before, rows);
        out.extend_from_slice(b",\"after\":");
        push_image(out, self.after, rows);
        self.push_source(out);
        out.extend_from_slice(b",\"transaction\":null,\"op\":\"");
        out.extend_from_slice(self.op.letter().as_bytes());
        out.extend_from_slice(b"\",\"ts_ms\":");
        push_i64(out, self.captured_ms());
        out.extend_from_slice(b",\"ts_us\":");
        push_i64(out, self.captured_us());
        out.extend_from_slice(b",\"ts_ns\":");
        push_i64(out, self.captured_us());
        // Nanoseconds of no meaning, as those of the wall clock.
        out.extend_from_slice(&[b'0' + (self.at.transaction % 10) as u8, b'4', b'2', b'}']);
    }

    fn push_source(&self, out: &mut Vec<u8>) {
        // MariaDB's binlog has whole seconds.
        let made_s = self.made_us.div_euclid(1_000_000);
        out.extend_from_slice(b",\"source\":{\"version\":\"3.5.0.Final\",\"connector\":\"mariadb\",\"name\":\"shop\"");
        out.extend_from_slice(b",\"ts_ms\":");
        push_i64(out, made_s);
        out.extend_from_slice(b"000,\"snapshot\":\"false\",\"db\":\"sakila\",\"sequence\":null,\"ts_us\":");
        push_i64(out, made_s);
        out.extend_from_slice(b"000000,\"ts_ns\":");
        push_i64(out, made_s);
        out.extend_from_slice(b"000000000,\"table\":\"customer\",\"server_id\":1,\"gtid\":\"0-1-");
        push_u64(out, self.at.transaction);
        out.extend_from_slice(b"\",\"file\":\"");
        push_binlog_name(out, self.at.file);
        out.extend_from_slice(b"\",\"pos\":");
        push_u64(out, self.at.position);
        out.extend_from_slice(b",\"row\":0,\"thread\":null,\"query\":null}");
    }
}

fn push_image(out: &mut Vec<u8>, image: Option<&Customer>, rows: &RowWriter) {
    match image {
        Some(customer) => rows.push_row(out, customer),
        None => out.extend_from_slice(b"null"),
    }
}

/// Replaces the contents of `out` by the key of a customer's events.
pub(super) fn write_key(out: &mut Vec<u8>, customer_id: u32) {
    out.clear();
    out.extend_from_slice(b"{\"customer_id\":");
    push_u64(out, u64::from(customer_id));
    out.push(b'}');
}
