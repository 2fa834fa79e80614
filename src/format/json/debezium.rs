//! `debezium-json`: every record is a change, with the row before and after it.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::column::Rows;
use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::cursor::Cursor;
use super::foreign::is_no_change;
use super::keys::{Key, Keys};
use super::read_row;
use super::tree::{Leaf, Node, millis, nodes};

/// The keys of the envelope, by their index in [`ENVELOPE`].
const BEFORE: usize = 0;
const AFTER: usize = 1;
const OP: usize = 2;
const SOURCE: usize = 3;
const PAYLOAD: usize = 4;
const ENVELOPE: [&str; 5] = ["before", "after", "op", "source", "payload"];

/// Decodes Debezium's change events, with `{"schema":…,"payload":…}` around them or not.
#[derive(Debug)]
pub(crate) struct DebeziumJson {
    scanner: Scanner,
    assembly: Assembly,
}

/// What the scanner knows of the stream: the keys at each place.
#[derive(Debug)]
struct Scanner {
    /// The record's outermost keys, then those within `payload`.
    envelopes: [Keys; 2],
    source: Keys,
    /// What else is wanted of the source; then its time is read with it.
    whole_source: Option<Node>,
    /// The other wanted keys of the envelope: their indices follow [`PAYLOAD`].
    others: Vec<Node>,
    after: Keys,
    before: Keys,
    source_time: bool,
    /// Whether only ops and positions are wanted.
    no_columns: bool,
    isa: Isa,
}

/// An image in the text of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    Absent,
    Null,
    /// An object that starts here.
    At(usize),
}

/// What was found in one record. The image after the change is decoded already, the one before only passed over.
#[derive(Debug)]
struct Event {
    before: Image,
    after: Image,
    op: u8,
    source_time: i64,
    payload: Image,
}

impl DebeziumJson {
    /// Decodes into `assembly`, with what `isa` has.
    pub(crate) fn new(assembly: Assembly, isa: Isa) -> Self {
        let columns = || Keys::new(assembly.rows.names());
        let (mut whole_source, mut names, mut others) = (None, Vec::new(), Vec::new());
        let wanted = assembly.envelope.rows.names().enumerate().map(|(column, path)| (path, Leaf::Column(column)));
        let time = Some(("source.ts_ms", Leaf::Time)).filter(|_| assembly.wants_source_time());
        for (key, node) in nodes(wanted.chain(time)) {
            match key {
                // The source's time alone has a shorter way.
                "source" if assembly.envelope.rows.names().any(is_source) => whole_source = Some(node),
                key if ENVELOPE.contains(&key) => {}
                key => {
                    names.push(key);
                    others.push(node);
                }
            }
        }
        let envelope = |own: usize| {
            let other = names.iter().enumerate().map(|(place, name)| (*name, ENVELOPE.len() + place));
            let own = ENVELOPE.into_iter().take(own).enumerate().map(|(index, name)| (name, index));
            Keys::with_indexes(own.chain(other))
        };
        let scanner = Scanner {
            // An envelope within the payload is not looked for.
            envelopes: [envelope(ENVELOPE.len()), envelope(PAYLOAD)],
            source: Keys::new(["ts_ms"]),
            whole_source,
            others,
            after: columns(),
            before: columns(),
            source_time: assembly.wants_source_time(),
            no_columns: assembly.rows.names().next().is_none(),
            isa,
        };
        Self { scanner, assembly }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let mut cursor = Cursor::new(value, self.scanner.isa);
        let event = self.scanner.event(&mut cursor, &mut self.assembly.rows, &mut self.assembly.envelope.rows, 0)?;
        cursor.end()?;
        let mut before_present = false;
        let op = match event.op {
            b'c' | b'r' | b'u' => {
                if !matches!(event.after, Image::At(_)) {
                    return Err(Fault::missing(0, "\"after\" is missing from a change that needs it"));
                }
                if event.op == b'u'
                    && let Image::At(start) = event.before
                    && let Some(rows) = self.assembly.before()
                {
                    before_present = true;
                    self.scanner.image_before(value, start, rows)?;
                }
                Op::from_letter(event.op)
            }
            b'd' => {
                let Image::At(start) = event.before else {
                    return Err(Fault::missing(
                        0,
                        "\"before\" is missing from a delete; in PostgreSQL, set REPLICA IDENTITY FULL",
                    ));
                };
                self.assembly.rows.roll_back();
                self.scanner.image_before(value, start, &mut self.assembly.rows)?;
                Some(Op::Delete)
            }
            b't' => Some(Op::Truncate),
            // A message of pg_logical_emit_message is no change of a row.
            b'm' => {
                self.assembly.roll_back();
                return Ok(());
            }
            // A null payload is a tombstone, in its envelope.
            0 if event.payload == Image::Null && record.key.is_some() => {
                self.assembly.roll_back();
                return Ok(());
            }
            0 => return Err(Fault::missing(0, "\"op\" is missing: this is no change event of Debezium")),
            _ => None,
        };
        match op {
            Some(op) => self.assembly.complete(record, op, event.source_time, before_present),
            None => Err(Fault::malformed(0, "\"op\" is none of c, r, u, d, t, m")),
        }
    }
}

impl Scanner {
    /// The event that starts at the cursor, its image after the change decoded into `rows`.
    #[inline]
    fn event(&mut self, cursor: &mut Cursor<'_>, rows: &mut Rows, envelope: &mut Rows, depth: usize) -> Step<Event> {
        let absent = Image::Absent;
        let mut event = Event { before: absent, after: absent, op: 0, source_time: NO_TIME, payload: absent };
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.envelopes[depth].next(cursor, &mut place)? {
                Key::End => return Ok(event),
                Key::Field(AFTER) => {
                    if event.after != Image::Absent {
                        rows.roll_back();
                    }
                    event.after = image(cursor)?;
                    if self.no_columns && event.after != Image::Null {
                        cursor.skip_container()?;
                    } else if event.after != Image::Null {
                        read_row(&mut self.after, rows, cursor)?;
                    }
                }
                Key::Field(BEFORE) => {
                    event.before = image(cursor)?;
                    if event.before != Image::Null {
                        cursor.skip_container()?;
                    }
                }
                Key::Field(OP) => event.op = op(cursor)?,
                Key::Field(SOURCE) if self.whole_source.is_some() => {
                    if let Some(source) = &mut self.whole_source {
                        source.read(cursor, envelope, &mut event.source_time)?;
                    }
                }
                Key::Field(SOURCE) if self.source_time => event.source_time = self.source_time(cursor)?,
                Key::Field(PAYLOAD) => {
                    let payload = image(cursor)?;
                    if payload != Image::Null {
                        rows.roll_back();
                        envelope.roll_back();
                        event = self.payload(cursor, rows, envelope)?;
                    }
                    event.payload = payload;
                }
                Key::Field(other) if other > PAYLOAD => {
                    self.others[other - ENVELOPE.len()].read(cursor, envelope, &mut event.source_time)?;
                }
                Key::Field(_) | Key::Other => cursor.skip_value()?,
            }
        }
    }

    /// The event within an envelope's `payload`.
    #[inline(never)]
    fn payload(&mut self, cursor: &mut Cursor<'_>, rows: &mut Rows, envelope: &mut Rows) -> Step<Event> {
        self.event(cursor, rows, envelope, 1)
    }

    /// Decodes the image before the change, which was passed over at first.
    fn image_before(&mut self, value: &[u8], start: usize, rows: &mut Rows) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        cursor.pos = start;
        read_row(&mut self.before, rows, &mut cursor)
    }

    /// The first `ts_ms` of the source; what comes after it is skipped as a whole.
    fn source_time(&mut self, cursor: &mut Cursor<'_>) -> Step<i64> {
        if image(cursor)? == Image::Null {
            return Ok(NO_TIME);
        }
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.source.next(cursor, &mut place)? {
                Key::Field(_) => {
                    let time = millis(cursor)?;
                    cursor.skip_rest()?;
                    return Ok(time);
                }
                Key::Other => cursor.skip_value()?,
                Key::End => return Ok(NO_TIME),
            }
        }
    }
}

/// Whether a path is of the source, or the source itself.
fn is_source(path: &str) -> bool {
    path.split('.').next() == Some("source")
}

/// What kind of image is at the cursor; a null is passed, an object is not.
#[inline]
pub(super) fn image(cursor: &mut Cursor<'_>) -> Step<Image> {
    cursor.skip_space();
    match cursor.peek() {
        b'{' => Ok(Image::At(cursor.pos)),
        b'n' => cursor.literal("null").map(|()| Image::Null),
        _ => Err(cursor.unexpected("expected an object or null")),
    }
}

/// The letter of the `op` at the cursor; 0 for null.
#[inline]
fn op(cursor: &mut Cursor<'_>) -> Step<u8> {
    cursor.skip_space();
    if cursor.peek() == b'n' {
        return cursor.literal("null").map(|()| 0);
    }
    let at = cursor.pos;
    match cursor.string()?.raw {
        [letter @ (b'c' | b'r' | b'u' | b'd' | b't' | b'm')] => Ok(*letter),
        _ => Err(Fault::malformed(at, "\"op\" is none of c, r, u, d, t, m")),
    }
}

impl Decoder for DebeziumJson {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            if let Some(value) = self.assembly.value(&record, true)
                && let Err(fault) = self.record(&record, value)
            {
                if is_no_change(value) {
                    self.assembly.roll_back();
                } else {
                    self.assembly.reject(&record, &fault);
                }
            }
        }
        self.assembly.finish(records)
    }
}
