//! How a record says which schema it was written with.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Instant;

use super::super::fault::{Fault, Step};
use super::super::registry::{Found, Registry};
use super::layout::{Columns, Plan};
use crate::avro::container::Header;
use crate::error::{Error, Result};
use crate::source::RawBatch;

/// Where the schema comes from, and what is known so far.
#[derive(Debug)]
pub(super) enum Framing {
    /// A zero byte, the schema's id in four, and the datum.
    Confluent(Confluent),
    /// The datum alone, of one schema for all.
    Plain(Arc<Plan>),
    /// The datums of container files; each file has its schema.
    Container(HashMap<Arc<str>, Arc<Plan>>),
}

/// The schemas of a registry, by id.
#[derive(Debug)]
pub(super) struct Confluent {
    registry: Arc<Registry>,
    plans: HashMap<u32, Known>,
    /// The id that was last found to be known.
    last: Option<u32>,
}

#[derive(Debug)]
struct Known {
    plan: Arc<Plan>,
    until: Option<Instant>,
}

/// Bytes before the datum.
const PREFIX: usize = 5;

/// The id in a record of Confluent's wire format.
#[inline]
pub(super) fn id_of(value: &[u8]) -> Step<u32> {
    match value {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [0, ..] => Err(Fault::malformed(0, "not Confluent's wire format: shorter than the 5 bytes before the value,")),
        [b'{' | b'[', ..] => Err(Fault::malformed(0, "not Confluent's wire format but JSON, it seems: no zero byte")),
        _ => Err(Fault::malformed(0, "not Confluent's wire format: no zero byte")),
    }
}

impl Framing {
    pub(super) fn confluent(registry: Arc<Registry>) -> Self {
        Self::Confluent(Confluent { registry, plans: HashMap::new(), last: None })
    }

    pub(super) fn plain(plan: Plan) -> Self {
        Self::Plain(Arc::new(plan))
    }

    pub(super) fn container() -> Self {
        Self::Container(HashMap::new())
    }

    /// Gets the schemas that these records were written with; with `keys`, those of the keys of tombstones too.
    pub(super) fn prepare(&mut self, records: &RawBatch, columns: &Columns, keys: bool) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Confluent(confluent) => confluent.prepare(records, columns, keys),
            Self::Container(plans) => {
                let path = &records.source.topic;
                if !plans.contains_key(path) {
                    let failed = |words: String| Error::permanent(format!("cannot read Avro file {path}"), words);
                    let file = File::open(&**path).map_err(|error| failed(error.to_string()))?;
                    let header = Header::read(&mut BufReader::new(file)).map_err(failed)?;
                    plans.insert(Arc::clone(path), Arc::new(Plan::new(&Arc::new(header.schema), columns)));
                }
                Ok(())
            }
        }
    }

    /// The plan for a record of a topic, and where its datum starts; `current` is the plan of the record before.
    #[inline]
    pub(super) fn plan(&self, topic: &str, value: &[u8], current: &mut Current) -> Step<usize> {
        match self {
            Self::Confluent(confluent) => {
                let id = id_of(value)?;
                if current.id != Some(id) {
                    let unknown = Fault::malformed(0, "internal error (please report it): its schema was not prepared");
                    current.plan = Some(Arc::clone(&confluent.plans.get(&id).ok_or(unknown)?.plan));
                    current.id = Some(id);
                }
                Ok(PREFIX)
            }
            Self::Plain(plan) => {
                if current.plan.is_none() {
                    current.plan = Some(Arc::clone(plan));
                }
                Ok(0)
            }
            Self::Container(plans) => {
                if current.plan.is_none() {
                    current.plan = plans.get(topic).map(Arc::clone);
                }
                Ok(0)
            }
        }
    }
}

/// The plan of the records that are being decoded.
#[derive(Debug, Default)]
pub(super) struct Current {
    id: Option<u32>,
    pub(super) plan: Option<Arc<Plan>>,
}

impl Confluent {
    fn prepare(&mut self, records: &RawBatch, columns: &Columns, keys: bool) -> Result<()> {
        let mut missing = None;
        for record in records.iter() {
            let framed = if record.value.is_none() && keys { record.key } else { record.value };
            let Some(Ok(id)) = framed.map(id_of) else { continue };
            if self.last == Some(id) {
                continue;
            }
            // The other ids are asked for all the same, so that each has been denied as often when the lane comes back.
            if let Err(error) = self.learn(id, columns) {
                if !error.is_transient() {
                    return Err(error);
                }
                missing.get_or_insert(error);
            }
        }
        missing.map_or(Ok(()), Err)
    }

    fn learn(&mut self, id: u32, columns: &Columns) -> Result<()> {
        let known = self.plans.get(&id);
        if known.is_some_and(|known| known.until.is_none_or(|until| until > Instant::now())) {
            self.last = known.filter(|known| known.until.is_none()).map(|_| id);
            return Ok(());
        }
        let known = match self.registry.schema(id)? {
            Found::Schema(schema) => Known { plan: Arc::new(Plan::new(&schema, columns)), until: None },
            Found::Unusable { words, until } => Known { plan: Arc::new(Plan::unusable(words.to_string())), until },
        };
        self.plans.insert(id, known);
        Ok(())
    }
}
