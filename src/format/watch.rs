//! Notices that records have columns that their table does not have yet.
//!
//! Only tables whose columns were left out are watched. Records with a schema in their envelope are compared by its text,
//! which is the same in record after record, those of Avro by its id; of others the keys of the row are walked over.

use super::avro;
use super::fault::Step;
use super::infer::{Layout, RowSchema, Sample, infer};
use super::json::block::Isa;
use super::json::cursor::Cursor;
use super::json::keys::{Key, Keys};
use crate::options::Options;
use crate::source::{RawBatch, RawRecord};

/// How many texts of schemas are remembered: partitions of a topic may change at different times.
const SCHEMAS: usize = 8;

/// A watch over the records of one table.
pub struct Watch {
    options: Options,
    layout: Layout,
    known: RowSchema,
    /// The beginnings of records whose schemas have nothing new.
    schemas: Vec<Vec<u8>>,
    envelope: Keys,
    payload: Keys,
    row: Keys,
    isa: Isa,
}

/// The keys that lead to the row, by their index.
const PAYLOAD: usize = 0;
const SCHEMA: usize = 1;
const AFTER: usize = 2;
const DATA: usize = 3;
const WAY: [&str; 4] = ["payload", "schema", "after", "data"];

impl Watch {
    /// A watch for rows that have more columns than these.
    pub fn new(options: &Options, known: RowSchema) -> Self {
        let row = Keys::new(known.columns.fields().iter().map(|field| field.name().as_str()));
        Self {
            options: options.clone(),
            layout: Layout::of(options),
            known,
            schemas: Vec::new(),
            envelope: Keys::new(WAY),
            payload: Keys::new(WAY),
            row,
            isa: Isa::detect(),
        }
    }

    /// The offset of the first record that has something new.
    pub fn first_new(&mut self, records: &RawBatch) -> Option<i64> {
        records.iter().find(|record| self.is_new(record)).map(|record| record.offset)
    }

    fn is_new(&mut self, record: &RawRecord<'_>) -> bool {
        let Some(value) = record.value else { return false };
        if self.schemas.iter().any(|schema| value.starts_with(schema)) {
            return false;
        }
        if let Some(prefix) = avro::schema_prefix(&self.options, value) {
            // When the registry does not answer, the next record is looked at again.
            let seen = infer(&self.options, &[sample(record)]);
            let is_new = matches!(&seen, Ok(Some(seen)) if self.known.lacks(seen));
            if seen.is_ok() && !is_new {
                self.remember(prefix);
            }
            return is_new;
        }
        // A record that is not even JSON has no columns; the decoder says what is wrong with it.
        let Ok(found) = self.walk(value) else { return false };
        match found {
            Found::Nothing => false,
            Found::Key => self.tells_more(record),
            Found::Schema(end) => {
                let is_new = self.tells_more(record);
                if !is_new {
                    self.remember(&value[..end]);
                }
                is_new
            }
        }
    }

    fn remember(&mut self, schema: &[u8]) {
        if self.schemas.len() == SCHEMAS {
            self.schemas.remove(0);
        }
        self.schemas.push(schema.to_vec());
    }

    fn tells_more(&self, record: &RawRecord<'_>) -> bool {
        matches!(infer(&self.options, &[sample(record)]), Ok(Some(seen)) if self.known.lacks(&seen))
    }

    fn walk(&mut self, value: &[u8]) -> Step<Found> {
        let mut cursor = Cursor::new(value, self.isa);
        if matches!(self.layout, Layout::Plain) {
            return walk_row(&mut self.row, &mut cursor, false);
        }
        if matches!(self.layout, Layout::Flat) && !value.starts_with(b"{\"schema\":") {
            return walk_row(&mut self.row, &mut cursor, true);
        }
        let mut place = 0;
        Keys::open(&mut cursor)?;
        loop {
            match self.envelope.next(&mut cursor, &mut place)? {
                Key::Field(SCHEMA) => {
                    cursor.skip_value()?;
                    if value[..cursor.pos].ends_with(b"}") {
                        return Ok(Found::Schema(cursor.pos));
                    }
                }
                Key::Field(PAYLOAD) => return self.walk_payload(&mut cursor),
                Key::Field(AFTER | DATA) => return walk_image(&mut self.row, &mut cursor),
                Key::Field(_) | Key::Other => cursor.skip_value()?,
                Key::End => return Ok(Found::Nothing),
            }
        }
    }

    fn walk_payload(&mut self, cursor: &mut Cursor<'_>) -> Step<Found> {
        cursor.skip_space();
        if cursor.peek() != b'{' {
            return Ok(Found::Nothing);
        }
        if matches!(self.layout, Layout::Flat) {
            return walk_row(&mut self.row, cursor, true);
        }
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.payload.next(cursor, &mut place)? {
                Key::Field(AFTER) => return walk_image(&mut self.row, cursor),
                Key::End => return Ok(Found::Nothing),
                _ => cursor.skip_value()?,
            }
        }
    }
}

fn sample(record: &RawRecord<'_>) -> Sample {
    Sample { key: record.key.map(<[u8]>::to_vec), value: record.value.map(<[u8]>::to_vec) }
}

enum Found {
    Nothing,
    /// A key that is no column, with a value.
    Key,
    /// A schema that ends here.
    Schema(usize),
}

fn walk_image(row: &mut Keys, cursor: &mut Cursor<'_>) -> Step<Found> {
    cursor.skip_space();
    if cursor.peek() == b'{' { walk_row(row, cursor, false) } else { Ok(Found::Nothing) }
}

fn walk_row(row: &mut Keys, cursor: &mut Cursor<'_>, is_flat: bool) -> Step<Found> {
    let mut place = 0;
    Keys::open(cursor)?;
    loop {
        let start = cursor.pos;
        match row.next(cursor, &mut place)? {
            Key::End => return Ok(Found::Nothing),
            Key::Field(_) => cursor.skip_value()?,
            Key::Other => {
                let about = is_flat && cursor.bytes[start..cursor.pos].windows(3).any(|it| it == b"\"__");
                cursor.skip_space();
                if cursor.peek() != b'n' && !about {
                    return Ok(Found::Key);
                }
                cursor.skip_value()?;
            }
        }
    }
}
