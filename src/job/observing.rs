//! The job looks at itself, for people: nothing that it does depends on this.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outputs::Outputs;
use super::report::{QuerySeen, Seen, WaitsFor};
use super::running::Job;
use super::table_input::TableInput;
use crate::checkpoint::{Described, DescribedQuery};
use crate::error::Error;
use crate::sink::OutputTable;
use crate::sql::query::Query;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME};

impl Job {
    /// Notes whether its sources answer, and shows how the job is, when somebody may ask.
    pub(super) fn observe(&mut self) {
        let now = self.settings.outside.now();
        for input in &self.inputs {
            // The source's own log has said it.
            match input.trouble() {
                Some(reason) => {
                    let error = Error::transient("Kafka does not answer", reason);
                    self.progress.waits(WaitsFor::Source, input.name(), &error, now);
                }
                None => {
                    if let Some(since) = self.progress.goes_on(WaitsFor::Source, input.name()) {
                        let waited = Duration::from_millis((now - since).max(0) as u64);
                        tracing::info!("table {}: Kafka answers again, after {waited:?}", input.name());
                    }
                }
            }
        }
        if !self.progress.is_watched() {
            return;
        }
        self.inputs.iter_mut().for_each(TableInput::look_at_watermark);
        self.progress.see(Seen {
            at: now,
            epoch: self.epoch,
            gathered_rows: self.rows.rows as u64,
            delivering_since: self.delivering_since,
            is_full: self.is_full() && self.delivering.is_some(),
            stopping: self.stopping,
            tables: self.inputs.iter().map(|input| input.seen(&self.ends)).collect(),
            queries: self.queries_seen(),
        });
    }

    fn queries_seen(&self) -> Vec<QuerySeen> {
        let mut open: BTreeMap<usize, (u64, Option<i64>)> = BTreeMap::new();
        for (id, lane) in self.held.values().flatten() {
            let windowed = self.query.pipelines.get(id.pipeline).and_then(|pipeline| pipeline.windowed());
            let sessions = windowed.and_then(|it| it.inputs.get(id.input)).is_some_and(|it| it.sessions.is_some());
            let behind = windowed.and_then(|it| it.behind.get(id.input)).copied().unwrap_or(0);
            let (count, next) = open.entry(id.pipeline).or_default();
            // Lanes share windows, but not sessions.
            *count = if sessions { *count + lane.panes as u64 } else { (*count).max(lane.panes as u64) };
            let closes = lane.closes_next.map(|at| at.saturating_add(behind)).filter(|at| *at != END_OF_TIME);
            *next = [*next, closes].into_iter().flatten().min();
        }
        let windowed = self.query.pipelines.iter().enumerate();
        let windowed = windowed.filter_map(|(number, pipeline)| Some((number, pipeline.windowed()?)));
        let seen = windowed.map(|(number, windowed)| {
            let named = self.described.queries.get(number).cloned().unwrap_or_default();
            let (open_windows, closes_next) = open.get(&number).copied().unwrap_or_default();
            let closed_to = self.closed_to.get(&number).copied();
            QuerySeen {
                fills: named.fills,
                reads: named.reads,
                windows: named.windows,
                closed_to: closed_to.filter(|time| *time != BEGINNING_OF_TIME && *time != END_OF_TIME),
                closes_next,
                allowed_lateness: windowed.inputs.iter().map(|input| input.allowed_lateness).max().unwrap_or(0),
                open_windows,
            }
        });
        seen.collect()
    }
}

/// What the numbers of a job's pipelines and outputs stand for.
pub(super) fn described(query: &Query, outputs: &Outputs) -> Described {
    let name = |table: &OutputTable| match table.options.get("database") {
        Some(database) if !table.name().contains('.') => format!("{database}.{}", table.name()),
        _ => table.name().to_owned(),
    };
    let queries = query.pipelines.iter().enumerate().map(|(number, pipeline)| DescribedQuery {
        fills: name(&outputs.tables[outputs.of_pipeline(number).number]),
        reads: pipeline.table_names().into_iter().map(str::to_owned).collect(),
        windows: pipeline.windowed().into_iter().flat_map(|it| &it.inputs).map(|it| it.windows.to_string()).collect(),
    });
    Described { queries: queries.collect(), tables: outputs.tables.iter().map(name).collect() }
}
