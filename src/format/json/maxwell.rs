//! `maxwell-json`: Maxwell's change records (<https://maxwells-daemon.io/dataformat/>). `data` is the row after the change, for a
//! delete the row before it; `old` has the values before an update of those columns that changed.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::cursor::Cursor;
use super::debezium::{Image, image};
use super::keys::{Key, Keys};
use super::read_row;
use super::tree::{Leaf, Node, millis, nodes};

const DATA: usize = 0;
const OLD: usize = 1;
const TYPE: usize = 2;
const TIME: usize = 3;
const RECORD: [&str; 4] = ["data", "old", "type", "ts"];

/// Decodes Maxwell's records.
#[derive(Debug)]
pub(crate) struct MaxwellJson {
    keys: Keys,
    data: Keys,
    old: Keys,
    others: Vec<Node>,
    assembly: Assembly,
    isa: Isa,
}

/// The path by which a record has what another format has at `path`.
fn own_path(path: &str) -> &str {
    if path == "transaction.id" { "xid" } else { path }
}

impl MaxwellJson {
    /// Decodes into `assembly`, with what `isa` has.
    pub(crate) fn new(assembly: Assembly, isa: Isa) -> Self {
        let wanted = assembly.envelope.rows.names().enumerate();
        let others = nodes(wanted.map(|(column, path)| (own_path(path), Leaf::Column(column))));
        let (names, others): (Vec<_>, _) = others.into_iter().filter(|(key, _)| !RECORD.contains(key)).unzip();
        let keys = Keys::new(RECORD.into_iter().chain(names));
        let columns = || Keys::new(assembly.rows.names());
        Self { keys, data: columns(), old: columns(), others, assembly, isa }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        let (mut data, mut old) = (Image::Absent, Image::Absent);
        let (mut kind, mut time) = (None, NO_TIME);
        let mut place = 0;
        Keys::open(&mut cursor)?;
        loop {
            match self.keys.next(&mut cursor, &mut place)? {
                Key::Field(DATA) => data = passed_image(&mut cursor)?,
                Key::Field(OLD) => old = passed_image(&mut cursor)?,
                Key::Field(TYPE) => kind = Some(change(&mut cursor)?),
                // In seconds.
                Key::Field(TIME) => time = millis(&mut cursor)?,
                Key::Field(other) => {
                    self.others[other - RECORD.len()].read(&mut cursor, &mut self.assembly.envelope.rows, &mut time)?;
                }
                Key::Other => cursor.skip_value()?,
                Key::End => break,
            }
        }
        cursor.end()?;
        let Some(kind) = kind else {
            return Err(Fault::missing(0, "\"type\" is missing: this is no record of Maxwell"));
        };
        let Some(op) = kind else {
            self.assembly.roll_back();
            return Ok(());
        };
        let Image::At(row) = data else {
            return Err(Fault::missing(0, "\"data\" is missing from a change that needs it"));
        };
        let mut at = |keys: &mut Keys, rows: &mut _, start: usize| {
            cursor.pos = start;
            read_row(keys, rows, &mut cursor)
        };
        at(&mut self.data, &mut self.assembly.rows, row)?;
        let mut before_present = false;
        if op == Op::Update
            && let Image::At(changed) = old
            && let Some(rows) = self.assembly.before()
        {
            at(&mut self.data, rows, row)?;
            at(&mut self.old, rows, changed)?;
            before_present = true;
        }
        let time = if time == NO_TIME { NO_TIME } else { time.saturating_mul(1_000) };
        self.assembly.complete(record, op, time, before_present)
    }
}

/// The image at the cursor, passed.
fn passed_image(cursor: &mut Cursor<'_>) -> Step<Image> {
    let found = image(cursor)?;
    if found != Image::Null {
        cursor.skip_container()?;
    }
    Ok(found)
}

/// The op of the `type` at the cursor; `None` for what changes no row: DDL, and the bounds of a bootstrap.
fn change(cursor: &mut Cursor<'_>) -> Step<Option<Op>> {
    cursor.skip_space();
    let at = cursor.pos;
    match cursor.string()?.raw {
        b"insert" => Ok(Some(Op::Create)),
        b"update" => Ok(Some(Op::Update)),
        b"delete" => Ok(Some(Op::Delete)),
        b"bootstrap-insert" => Ok(Some(Op::Read)),
        b"bootstrap-start" | b"bootstrap-complete" | b"heartbeat" => Ok(None),
        other if other.starts_with(b"table-") || other.starts_with(b"database-") => Ok(None),
        _ => Err(Fault::malformed(at, "\"type\" is none of Maxwell's (insert, update, delete, bootstrap-insert, …)")),
    }
}

impl Decoder for MaxwellJson {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            if let Some(value) = self.assembly.value(&record, true)
                && let Err(fault) = self.record(&record, value)
            {
                self.assembly.reject(&record, &fault);
            }
        }
        self.assembly.finish(records)
    }
}
