//! `json`: every record is one object, and one row that was added.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::connect::ConnectEnvelope;
use super::cursor::Cursor;
use super::keys::Keys;
use super::read_row;

/// Decodes plain JSON objects, with Kafka Connect's `{"schema":…,"payload":…}` around them or not.
#[derive(Debug)]
pub(crate) struct PlainJson {
    columns: Keys,
    envelope: ConnectEnvelope,
    assembly: Assembly,
    isa: Isa,
}

impl PlainJson {
    /// Decodes into `assembly`, with what `isa` has.
    pub(crate) fn new(assembly: Assembly, isa: Isa) -> Self {
        let columns = Keys::new(assembly.rows.names());
        Self { columns, envelope: ConnectEnvelope::new(assembly.rows.names()), assembly, isa }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        if !self.envelope.enter(&mut cursor) {
            read_row(&mut self.columns, &mut self.assembly.rows, &mut cursor)?;
            cursor.end()?;
        } else if cursor.peek() == b'n' {
            return Err(Fault::null_value());
        } else {
            read_row(&mut self.columns, &mut self.assembly.rows, &mut cursor)?;
            ConnectEnvelope::leave(&mut cursor)?;
        }
        self.assembly.complete(record, Op::Create, NO_TIME, false)
    }
}

impl Decoder for PlainJson {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            if let Some(value) = self.assembly.value(&record, false)
                && let Err(fault) = self.record(&record, value)
            {
                self.assembly.reject(&record, &fault);
            }
        }
        self.assembly.finish(records)
    }
}
