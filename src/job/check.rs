//! What can be said of a job before it runs, without connecting to anything.

use super::input;
use super::lookup;
use super::outputs::Outputs;
use crate::error::Result;
use crate::sql::query::Query;
use crate::{sink, source};

/// Builds what a run would build: options and types that cannot work are refused here, with their places in the file.
pub fn check(query: &Query, job: &str) -> Result<Outputs> {
    let check = || {
        let outputs = Outputs::new(query, job)?;
        for pipeline in &query.pipelines {
            for feed in &pipeline.feeds {
                source::open(&feed.table.options)?;
            }
            pipeline.lookups.iter().try_for_each(|small| lookup::check(small))?;
        }
        input::check(&query.pipelines, &outputs)?;
        for table in &outputs.tables {
            sink::open(table, true)?;
        }
        Ok(outputs)
    };
    check().map_err(|error| query.locate(error))
}
