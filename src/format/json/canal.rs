//! `canal-json`: Canal's flat messages (<https://github.com/alibaba/canal>). `data` has one or several rows after the change (for a
//! delete, before it), all values as texts; `old` has, for each row of an update, the columns that changed as they were.
//!
//! A record of several rows gives several changes with one offset, all or none.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::cursor::Cursor;
use super::keys::{Key, Keys};
use super::read_row;
use super::tree::{Leaf, Node, millis, nodes};

const DATA: usize = 0;
const OLD: usize = 1;
const TYPE: usize = 2;
const TIME: usize = 3;
const IS_DDL: usize = 4;
const RECORD: [&str; 5] = ["data", "old", "type", "es", "isDdl"];

/// Decodes Canal's messages.
#[derive(Debug)]
pub(crate) struct CanalJson {
    keys: Keys,
    data: Keys,
    old: Keys,
    others: Vec<Node>,
    assembly: Assembly,
    isa: Isa,
}

/// What a message says of its rows.
#[derive(Debug)]
struct Message {
    /// Where the arrays begin.
    data: Option<usize>,
    old: Option<usize>,
    kind: Option<Kind>,
    time: i64,
    is_ddl: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rows(Op),
    Truncate,
    /// Any other word, which is known or not.
    Other {
        is_known: bool,
    },
}

impl CanalJson {
    /// Decodes into `assembly`, with what `isa` has.
    pub(crate) fn new(assembly: Assembly, isa: Isa) -> Self {
        let wanted = assembly.envelope.rows.names().enumerate();
        let others = nodes(wanted.map(|(column, path)| (path, Leaf::Column(column))));
        let (names, others): (Vec<_>, _) = others.into_iter().filter(|(key, _)| !RECORD.contains(key)).unzip();
        let keys = Keys::new(RECORD.into_iter().chain(names));
        let columns = || Keys::new(assembly.rows.names());
        Self { keys, data: columns(), old: columns(), others, assembly, isa }
    }

    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        let message = self.message(&mut cursor)?;
        let op = match message.kind {
            None => return Err(Fault::missing(0, "\"type\" is missing: this is no message of Canal")),
            Some(Kind::Truncate) => return self.assembly.complete(record, Op::Truncate, message.time, false),
            Some(Kind::Rows(op)) if !message.is_ddl => op,
            Some(Kind::Other { is_known: false }) if !message.is_ddl => {
                return Err(Fault::malformed(0, "\"type\" is none of Canal's (INSERT, UPDATE, DELETE, …)"));
            }
            Some(_) => {
                self.assembly.roll_back();
                return Ok(());
            }
        };
        let Some(data) = message.data else {
            return Err(Fault::missing(0, "\"data\" is missing from a change that needs it"));
        };
        let before = message.old.filter(|_| op == Op::Update);
        self.rows(record, &mut cursor, op, message.time, data, before)
    }

    fn message(&mut self, cursor: &mut Cursor<'_>) -> Step<Message> {
        let mut message = Message { data: None, old: None, kind: None, time: NO_TIME, is_ddl: false };
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.keys.next(cursor, &mut place)? {
                Key::Field(DATA) => message.data = passed_array(cursor)?,
                Key::Field(OLD) => message.old = passed_array(cursor)?,
                Key::Field(TYPE) => message.kind = Some(kind(cursor)?),
                Key::Field(TIME) => message.time = millis(cursor)?,
                Key::Field(IS_DDL) => {
                    cursor.skip_space();
                    message.is_ddl = cursor.peek() == b't';
                    cursor.skip_value()?;
                }
                Key::Field(other) => {
                    let other = &mut self.others[other - RECORD.len()];
                    other.read(cursor, &mut self.assembly.envelope.rows, &mut message.time)?;
                }
                Key::Other => cursor.skip_value()?,
                Key::End => break,
            }
        }
        cursor.end()?;
        Ok(message)
    }

    fn rows(
        &mut self,
        record: &RawRecord<'_>,
        cursor: &mut Cursor<'_>,
        op: Op,
        time: i64,
        data: usize,
        old: Option<usize>,
    ) -> Step<()> {
        let mut old = old.map(|start| cursor.at(start + 1));
        cursor.pos = data + 1;
        let mut number = 0;
        while next_row(cursor, number)? {
            let start = cursor.pos;
            if number > 0 && self.assembly.envelope.is_wanted() {
                // The envelope is the same for all rows of a message.
                self.message(&mut cursor.at(0))?;
            }
            read_row(&mut self.data, &mut self.assembly.rows, cursor)?;
            let mut before_present = false;
            if let Some(old) = &mut old
                && next_row(old, number)?
            {
                match self.assembly.before() {
                    Some(rows) if old.peek() == b'{' => {
                        read_row(&mut self.data, rows, &mut cursor.at(start))?;
                        read_row(&mut self.old, rows, old)?;
                        before_present = true;
                    }
                    _ => old.skip_value()?,
                }
            }
            self.assembly.complete(record, op, time, before_present)?;
            number += 1;
        }
        // A message without rows changes nothing.
        self.assembly.roll_back();
        Ok(())
    }
}

/// Goes to the next element of an array of which `number` have been read; `false` at its end.
fn next_row(cursor: &mut Cursor<'_>, number: usize) -> Step<bool> {
    cursor.skip_space();
    match cursor.peek() {
        b']' => return Ok(false),
        b',' if number > 0 => cursor.pos += 1,
        _ if number == 0 => {}
        _ => return Err(cursor.unexpected("expected ',' or ']'")),
    }
    cursor.skip_space();
    Ok(true)
}

/// Where the array at the cursor begins, which is passed; `None` for null.
fn passed_array(cursor: &mut Cursor<'_>) -> Step<Option<usize>> {
    cursor.skip_space();
    let start = cursor.pos;
    match cursor.peek() {
        b'[' => cursor.skip_container().map(|_| Some(start)),
        b'n' => cursor.literal("null").map(|()| None),
        _ => Err(cursor.unexpected("expected an array or null")),
    }
}

fn kind(cursor: &mut Cursor<'_>) -> Step<Kind> {
    cursor.skip_space();
    Ok(match cursor.string()?.raw {
        b"INSERT" => Kind::Rows(Op::Create),
        b"UPDATE" => Kind::Rows(Op::Update),
        b"DELETE" => Kind::Rows(Op::Delete),
        b"TRUNCATE" => Kind::Truncate,
        b"CREATE" | b"ALTER" | b"ERASE" | b"RENAME" | b"QUERY" | b"CINDEX" | b"DINDEX" | b"GTID" | b"XACOMMIT"
        | b"XAROLLBACK" | b"MHEARTBEAT" | b"TIDB_WATERMARK" => Kind::Other { is_known: true },
        _ => Kind::Other { is_known: false },
    })
}

impl Decoder for CanalJson {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            let rows = self.assembly.len();
            if let Some(value) = self.assembly.value(&record, true)
                && let Err(fault) = self.record(&record, value)
            {
                self.assembly.take_back(rows);
                self.assembly.reject(&record, &fault);
            }
        }
        self.assembly.finish(records)
    }
}
