//! Sinks that keep what they are given, for as many runs as a case has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;

use super::cells::cells;
use crate::error::{Error, Result};
use crate::sink::{Block, OutputTable, Sink};

/// What all outputs of a job have been given. A block is there once, however often it comes.
#[derive(Debug, Default)]
pub struct Collected {
    outputs: Mutex<BTreeMap<usize, Output>>,
    /// When the next write fails as if the process had ended there: after so many more; and whether its rows are in place then.
    crash: Mutex<Option<(usize, bool)>>,
}

#[derive(Debug, Default)]
struct Output {
    /// The place of each block in `rows`, by token.
    tokens: BTreeMap<String, usize>,
    rows: Vec<Vec<RecordBatch>>,
}

impl Collected {
    /// The sink of output number `number`.
    pub fn sink(self: &Arc<Self>, number: usize, table: &OutputTable) -> Box<dyn Sink> {
        Box::new(CollectingSink { collected: Arc::clone(self), number, name: table.options.table().to_owned() })
    }

    /// Has the job crash at a later write: after so many more of them, with or without its rows in place.
    pub fn crash_after(&self, writes: usize, in_place: bool) {
        *self.crash.lock().unwrap_or_else(PoisonError::into_inner) = Some((writes, in_place));
    }

    /// Whether a crash that was asked for is still to come; there will be none then.
    pub fn call_off(&self) -> bool {
        self.crash.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// The rows of an output, in the order in which they came.
    pub fn rows(&self, output: usize) -> Vec<RecordBatch> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.get(&output).map(|it| it.rows.iter().flatten().cloned().collect()).unwrap_or_default()
    }

    fn take(&self, number: usize, name: &str, block: &Block) -> Result<()> {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let output = outputs.entry(number).or_default();
        match output.tokens.get(&block.token) {
            None => {
                output.tokens.insert(block.token.clone(), output.rows.len());
                output.rows.push(block.rows.clone());
            }
            Some(&place) if texts(&output.rows[place])? == texts(&block.rows)? => {}
            Some(_) => {
                let token = &block.token;
                return Err(Error::internal(format!("the block \"{token}\" of {name} came again with other rows")));
            }
        }
        Ok(())
    }

    /// Whether the job crashes at this write, and then whether its rows are in place.
    fn crashes(&self) -> Option<bool> {
        let mut crash = self.crash.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *crash {
            Some((0, in_place)) => {
                let in_place = *in_place;
                *crash = None;
                Some(in_place)
            }
            Some((writes, _)) => {
                *writes -= 1;
                None
            }
            None => None,
        }
    }
}

fn texts(rows: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    Ok(rows.iter().map(cells).collect::<Result<Vec<_>>>()?.concat())
}

struct CollectingSink {
    collected: Arc<Collected>,
    number: usize,
    name: String,
}

#[async_trait]
impl Sink for CollectingSink {
    async fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        let crashes = self.collected.crashes();
        if crashes != Some(false) {
            self.collected.take(self.number, &self.name, block)?;
        }
        match crashes {
            Some(_) => Err(Error::permanent("the test ended the process here", "crash")),
            None => Ok(()),
        }
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.write(block).await
    }
}
