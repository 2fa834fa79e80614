//! Records into changes.

use datafusion::arrow::array::RecordBatch;

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::column::{Column, Rows};
use super::super::fault::{Fault, Step};
use super::framing::{Current, Framing};
use super::layout::{Columns, Kind, Layout, Part, Plan};
use super::plan::{Notes, Walk};
use super::text::Text;
use crate::avro::datum::Datum;
use crate::change::{ChangeBatch, DeadReason, Op};
use crate::error::Result;
use crate::source::{RawBatch, RawRecord};

/// How much of a value a message quotes.
const EXCERPT_CHARS: usize = 60;

/// Decodes Avro.
#[derive(Debug)]
pub(super) struct AvroDecoder {
    framing: Framing,
    columns: Columns,
    target: Target,
}

/// Where decoded values go.
#[derive(Debug)]
struct Target {
    assembly: Assembly,
    /// What is wanted of the envelope.
    envelope: Option<Rows>,
    /// Takes nothing, for walks without columns.
    nothing: Rows,
    /// Whether the value that is being read goes to the envelope's columns.
    in_envelope: bool,
    /// Whether a row that does not say what happened to it is an upsert.
    upserts: bool,
}

/// What became of a record that is no dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Row { op: Op, source_time: i64, before_present: bool },
    Nothing,
}

impl AvroDecoder {
    pub(super) fn new(framing: Framing, columns: Columns, assembly: Assembly, envelope: Option<Rows>) -> Self {
        let upserts = columns.layout == Layout::Unwrapped;
        let target = Target { assembly, envelope, nothing: Rows::none(), in_envelope: false, upserts };
        Self { framing, columns, target }
    }

    fn record(&mut self, records: &RawBatch, record: &RawRecord<'_>, current: &mut Current) {
        let tombstones = self.columns.layout != Layout::Rows;
        if let (None, Some(key), true) = (record.value, record.key, self.columns.tombstones_delete) {
            return self.tombstone(records, record, key);
        }
        let Some(value) = self.target.assembly.bounded_value(record, tombstones) else { return };
        let start = match self.framing.plan(&records.source.topic, value, current) {
            Ok(start) => start,
            Err(fault) => return self.target.assembly.bury(record, fault.reason, fault.message(value, None)),
        };
        let Some(plan) = &current.plan else { return };
        if let Kind::Unusable(words) = &plan.kind {
            return self.target.assembly.bury(record, DeadReason::Malformed, words.clone());
        }
        let outcome = self.target.decode(plan, value, start);
        if let Err(fault) = self.target.end(record, outcome) {
            self.target.reject(record, &fault, plan, value, start);
        }
    }

    /// A row that was deleted, known by its key.
    #[cold]
    fn tombstone(&mut self, records: &RawBatch, record: &RawRecord<'_>, key: &[u8]) {
        if let Err(words) = self.delete(records, record, key) {
            self.target.roll_back();
            let message = format!("a delete without a value, whose key cannot be read: {words}");
            self.target.assembly.bury(record, DeadReason::Malformed, message);
        }
    }

    fn delete(&mut self, records: &RawBatch, record: &RawRecord<'_>, key: &[u8]) -> Result<(), String> {
        let mut current = Current::default();
        let start = self.framing.plan(&records.source.topic, key, &mut current).map_err(|it| it.message(key, None))?;
        let plan = current.plan.ok_or("it has no schema")?;
        let outcome = match &plan.kind {
            Kind::Row(..) => self.target.decode(&plan, key, start),
            Kind::Unusable(words) => return Err(words.clone()),
            Kind::Envelope(_) | Kind::Aside => return Err("its schema is not that of a key".to_owned()),
        };
        let deleted = |outcome| match outcome {
            Outcome::Row { source_time, .. } => Outcome::Row { op: Op::Delete, source_time, before_present: false },
            Outcome::Nothing => Outcome::Nothing,
        };
        self.target.end(record, outcome.map(deleted)).map_err(|fault| {
            let column = fault.column.and_then(|column| self.target.assembly.rows.column(column));
            fault.message_found("a value", column.map(Column::describe))
        })
    }
}

impl Target {
    fn decode(&mut self, plan: &Plan, value: &[u8], start: usize) -> Step<Outcome> {
        self.in_envelope = false;
        let mut datum = Datum::new(value, start);
        match &plan.kind {
            Kind::Envelope(parts) => self.change(plan, parts, value, datum),
            Kind::Row(walk, around) => {
                let mut notes = Notes::NONE;
                if !walk.run(&plan.schema, &mut datum, &mut self.assembly.rows, &mut notes)? {
                    return Err(Fault { reason: DeadReason::NullValue, ..Fault::missing(start, "the record is null") });
                }
                datum.end()?;
                if let (Some(around), Some(envelope)) = (around, &mut self.envelope) {
                    self.in_envelope = true;
                    around.run(&plan.schema, &mut Datum::new(value, start), envelope, &mut { Notes::NONE })?;
                }
                let op = match (notes.deleted, Op::from_letter(notes.op)) {
                    (true, _) => Op::Delete,
                    (false, Some(op)) => op,
                    // The row is this now; whether there was one before nobody can tell.
                    (false, None) if self.upserts => Op::Update,
                    (false, None) => Op::Create,
                };
                Ok(Outcome::Row { op, source_time: notes.source_time, before_present: false })
            }
            Kind::Aside | Kind::Unusable(_) => Ok(Outcome::Nothing),
        }
    }

    /// A change in Debezium's envelope. Which image is wanted shows only after both have passed: the one after the change is
    /// decoded on the way, the other is passed over and come back to.
    #[inline]
    fn change(&mut self, plan: &Plan, parts: &[Part], value: &[u8], mut datum: Datum<'_>) -> Step<Outcome> {
        let schema = &*plan.schema;
        datum.resolve(schema, schema.root)?;
        let (mut before, mut after, mut notes) = (None, false, Notes::NONE);
        for part in parts {
            match part {
                Part::After(walk) => {
                    after = walk.run(schema, &mut datum, &mut self.assembly.rows, &mut notes)?;
                }
                Part::Before(node, walk) => {
                    before = Some((walk, datum.pos));
                    datum.skip(schema, *node)?;
                }
                Part::Other(field) => {
                    self.in_envelope = true;
                    let rows = self.envelope.as_mut().unwrap_or(&mut self.nothing);
                    field.run(schema, &mut datum, rows, &mut notes)?;
                    self.in_envelope = false;
                }
            }
        }
        datum.end()?;
        let image = |rows: &mut Rows, walk: &Walk, at: usize| {
            walk.run(schema, &mut Datum::new(value, at), rows, &mut { Notes::NONE })
        };
        let mut before_present = false;
        let op = match notes.op {
            b'c' | b'r' | b'u' => {
                if !after {
                    return Err(Fault::missing(0, "\"after\" is missing from a change that needs it"));
                }
                if notes.op == b'u'
                    && let Some((walk, at)) = before
                    && let Some(rows) = self.assembly.before()
                {
                    before_present = image(rows, walk, at)?;
                }
                Op::from_letter(notes.op)
            }
            b'd' => {
                self.assembly.rows.roll_back();
                let is_there = match before {
                    Some((walk, at)) => image(&mut self.assembly.rows, walk, at)?,
                    None => false,
                };
                if !is_there {
                    return Err(Fault::missing(
                        0,
                        "\"before\" is missing from a delete; in PostgreSQL, set REPLICA IDENTITY FULL",
                    ));
                }
                Some(Op::Delete)
            }
            b't' => Some(Op::Truncate),
            b'm' => return Ok(Outcome::Nothing),
            0 => return Err(Fault::missing(0, "\"op\" is missing: this is no change event of Debezium")),
            _ => None,
        };
        let op = op.ok_or_else(|| Fault::malformed(0, "\"op\" is none of c, r, u, d, t, m"))?;
        Ok(Outcome::Row { op, source_time: notes.source_time, before_present })
    }

    /// Ends the row under way, or forgets it.
    #[inline]
    fn end(&mut self, record: &RawRecord<'_>, outcome: Step<Outcome>) -> Step<()> {
        match outcome? {
            Outcome::Row { op, source_time, before_present } => {
                self.assembly.complete(record, op, source_time, before_present)?;
                if let Some(envelope) = &mut self.envelope {
                    // All of its columns may be null.
                    envelope.complete()?;
                }
            }
            Outcome::Nothing => self.roll_back(),
        }
        Ok(())
    }

    fn roll_back(&mut self) {
        self.assembly.roll_back();
        if let Some(envelope) = &mut self.envelope {
            envelope.roll_back();
        }
    }

    /// Keeps the record as a dead letter, in words that quote the value instead of its bytes.
    #[cold]
    fn reject(&mut self, record: &RawRecord<'_>, fault: &Fault, plan: &Plan, value: &[u8], start: usize) {
        self.roll_back();
        let rows = match &self.envelope {
            Some(envelope) if self.in_envelope => envelope,
            _ => &self.assembly.rows,
        };
        let column = fault.column.and_then(|column| rows.column(column)).map(Column::describe);
        let found = fault.column.and_then(|column| self.found(fault, plan, value, start, column));
        let message = fault.message_found(found.as_deref().unwrap_or("a value"), column);
        self.assembly.bury(record, fault.reason, message);
    }

    /// The text of the value that a column could not take.
    fn found(&self, fault: &Fault, plan: &Plan, value: &[u8], start: usize, column: usize) -> Option<String> {
        let schema = &*plan.schema;
        let mut datum = Datum::new(value, start);
        let text = |datum: &mut Datum<'_>, walk: &Walk| {
            let at = datum.pos;
            let (node, place) = walk.find(schema, &mut datum.clone(), column)?;
            let mut out = Vec::new();
            let mut value = Datum::new(value, place);
            let is_here = place <= fault.at && fault.at >= at;
            (is_here && Text { schema }.write(node, &mut value, &mut out).ok()?).then_some(out)
        };
        let out = match &plan.kind {
            Kind::Row(walk, around) => text(&mut datum, around.as_ref().filter(|_| self.in_envelope).unwrap_or(walk))?,
            Kind::Envelope(parts) if !self.in_envelope => {
                datum.resolve(schema, schema.root).ok()?;
                let mut found = None;
                for part in parts {
                    let (node, walk) = match part {
                        Part::Before(node, walk) => (*node, Some(walk)),
                        Part::After(walk) => (walk.of, Some(walk)),
                        Part::Other(field) => (field.node, None),
                    };
                    let from = datum.pos;
                    datum.skip(schema, node).ok()?;
                    if let Some(walk) = walk
                        && (from..datum.pos).contains(&fault.at)
                    {
                        found = text(&mut Datum::new(value, from), walk);
                    }
                }
                found?
            }
            _ => return None,
        };
        let text = String::from_utf8_lossy(&out);
        let mut shown: String = text.chars().take(EXCERPT_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Some(shown)
    }
}

impl Decoder for AvroDecoder {
    fn prepare(&mut self, records: &RawBatch) -> Result<()> {
        let keys = self.columns.tombstones_delete;
        self.framing.prepare(records, &self.columns, keys)
    }

    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        let mut current = Current::default();
        for record in records.iter() {
            self.record(records, &record, &mut current);
        }
        let mut batch = self.target.assembly.finish(records);
        if let Some(envelope) = &mut self.target.envelope {
            let schema = envelope.schema();
            let rows = envelope.finish().ok().filter(|rows| rows.num_rows() == batch.len());
            batch.envelope = Some(rows.unwrap_or_else(|| RecordBatch::new_empty(schema)));
        }
        batch
    }
}
