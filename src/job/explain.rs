//! A query in a tree that a person can read: what is read and decoded, what is done to rows, what is kept, what is filled.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::logical_expr::LogicalPlan;

use super::input::by_table;
use super::input::{FeedOf, decode_spec};
use super::outputs::Outputs;
use crate::error::{Error, Result};
use crate::format::DecodeSpec;
use crate::sink::{OutputTable, TableForm};
use crate::sql::define::catalog::{METADATA, Table};
use crate::sql::define::small_table::SmallTable;
use crate::sql::plan::emission::Emission;
use crate::sql::plan::pipeline::{Pipeline, Windowed, Work};
use crate::sql::plan::relation::Reading;
use crate::sql::query::Query;
use crate::state::BeforeImages;
use crate::type_name::{sql_name, sql_name_of};
use crate::window::aggregate::WindowPlan;
use crate::window::assigner::Windows;
use crate::window::calendar::Span;
use crate::window::duplicates::{DuplicatePlan, Keep};
use crate::window::lookup::{Lookup, LookupKind};
use crate::window::row_windows::RowWindows;
use crate::window::stage::Stage;

/// What a query does, in words.
pub fn explain(query: &Query, outputs: &Outputs) -> Result<String> {
    let mut text = String::new();
    for (table, feeds) in by_table(&query.pipelines) {
        let spec = decode_spec(&table, &feeds)?.spec;
        source(&mut text, &table, &feeds, &spec).map_err(Error::internal)?;
        for (at, of) in feeds.iter().enumerate() {
            let (branch, bar) = if at + 1 == feeds.len() { ("└─", "   ") } else { ("├─", "│  ") };
            let tree = feed_lines(of, &outputs.tables[outputs.of_pipeline(of.number).number]);
            for (at, line) in tree.iter().enumerate() {
                writeln!(text, "{} {line}", if at == 0 { branch } else { bar }).map_err(Error::internal)?;
            }
        }
    }
    let lookups = query.pipelines.iter().flat_map(|pipeline| &pipeline.lookups);
    for line in lookups.map(|small| small_line(small)).collect::<Result<BTreeSet<_>>>()? {
        writeln!(text, "{line}").map_err(Error::internal)?;
    }
    let letters = &outputs.tables[outputs.dead_letters().number];
    writeln!(text, "records that cannot be used → {}", place(letters)).map_err(Error::internal)?;
    Ok(text)
}

fn source(text: &mut String, table: &Table, feeds: &[FeedOf], spec: &DecodeSpec) -> std::fmt::Result {
    let from = table.options.get("topic").or_else(|| table.options.get("path")).unwrap_or_default();
    let connector = table.options.get("connector").unwrap_or_default();
    writeln!(text, "{} ← {connector} {from} ({})", table.name, table.format())?;
    let skipped = table.columns.fields().len().saturating_sub(spec.columns.fields().len());
    let images = if spec.before { ", images before updates too" } else { "" };
    writeln!(text, "│  decodes {}{images}; {skipped} columns are skipped", columns(&spec.columns))?;
    let mirrored = feeds.iter().any(|of| matches!(of.pipeline.work, Work::Mirror { .. }));
    let windowed = feeds.iter().any(|of| of.pipeline.windowed().is_some() && of.feed().reading == Reading::Table);
    if let Some(line) = before_images(table, mirrored, windowed) {
        writeln!(text, "│  {line}")?;
    }
    if let Some(column) = table.processing_time() {
        if feeds.iter().any(|of| of.pipeline.windowed().is_some()) {
            writeln!(text, "│  time of reading {column}: windows close by the clock, and are in every checkpoint")?;
        }
    } else if let Some(watermark) = &table.watermark {
        let delay = Duration::from_millis(watermark.delay as u64);
        writeln!(text, "│  event time {}, watermark {delay:?} behind", watermark.column)?;
    }
    Ok(())
}

/// Where images before changes come from, and what that costs.
fn before_images(table: &Table, mirrored: bool, windowed: bool) -> Option<String> {
    let cost = "keeps the decoded columns of every row, in memory (--state-memory for all such rows of the job, beyond it on disk) and in \
                checkpoints (what has changed)";
    match BeforeImages::of(&table.options) {
        _ if !table.has_changes() => None,
        _ if table.primary_key.is_empty() => windowed.then(|| {
            "no PRIMARY KEY, so before-images are trusted: keeps nothing; what comes twice counts twice".to_owned()
        }),
        Ok(BeforeImages::Auto) if windowed => {
            Some(format!("before-images auto, with windows over the table: {cost}, so that each is taken back as it was counted"))
        }
        Ok(BeforeImages::Trusted) if windowed => Some(
            "before-images trusted: keeps nothing; a change without its image before is a dead letter, what comes twice counts twice"
                .to_owned(),
        ),
        Ok(BeforeImages::Kept) => Some(format!("before-images kept: {cost}")),
        Ok(BeforeImages::Auto) if mirrored => Some(format!(
            "before-images auto: trusts the events', keeps nothing; unless they are PostgreSQL's, which may lack them: then {cost}"
        )),
        Ok(BeforeImages::Trusted) if mirrored => {
            Some("before-images trusted: keeps nothing; a value that an event leaves out is a dead letter".to_owned())
        }
        _ => None,
    }
}

/// What becomes of a table's rows. A query that has several feeds is told of with the last, for it needs them all.
fn feed_lines(of: &FeedOf, output: &OutputTable) -> Vec<String> {
    let (pipeline, feed) = (&of.pipeline, of.feed());
    let name = &feed.table.name;
    let reads = match feed.reading {
        Reading::Table if pipeline.windowed().is_some() => format!(
            "the current rows of {name}: an update takes the old row out of its window and puts the new one in, a delete takes it out"
        ),
        Reading::Changes => format!("every change event of {name}, as a row of its own"),
        Reading::Rows | Reading::Lookup => format!("every row of {name}"),
        Reading::Table => format!("the current rows of {name}: an update replaces its row, a delete takes it away"),
    };
    let mut lines = vec![format!("reads {reads}")];
    lines.extend(stage_lines(&feed.stages));
    let is_last = of.feed + 1 == pipeline.feeds.len();
    if let Some(windowed) = pipeline.windowed() {
        let number_of = |input: usize| if windowed.inputs.len() > 1 { format!(" {input}") } else { String::new() };
        let is_first_of = |input: usize| pipeline.feeds[..of.feed].iter().all(|it| it.input != input);
        match is_first_of(feed.input) {
            true => lines.extend(window_lines(windowed, feed.input, &number_of(feed.input))),
            false => lines.push(format!("into the windows{} above", number_of(feed.input))),
        }
        if is_last {
            if pipeline.table_names().len() > 1 {
                let tables = pipeline.table_names().join(", ");
                lines.push(format!("windows close at the least watermark of {tables}"));
            }
            for nested in &windowed.nested {
                lines.extend(plan_lines(nested.closing.plan()));
                lines.push(format!("what has closed is counted into windows{}", number_of(nested.input)));
                lines.extend(window_lines(windowed, nested.input, &number_of(nested.input)));
            }
            lines.extend(emission_lines(pipeline));
            lines.extend(plan_lines(windowed.closing.plan()));
            lines.push("late rows → the table's late table, with their window and a sign".into());
        }
    }
    let others = (0..pipeline.feeds.len()).filter(|other| *other != of.feed);
    let mut others: Vec<_> = others.map(|other| pipeline.feeds[other].table.name.as_str()).collect();
    others.dedup();
    let beside = if others.is_empty() { String::new() } else { format!(", with {}", others.join(", ")) };
    lines.push(format!("→ {} ({}){beside}", place(output), form(&output.form)));
    lines
}

/// When results come, and what that costs.
fn emission_lines(pipeline: &Pipeline) -> Vec<String> {
    let Emission { every, allowed_lateness, fill } = &pipeline.emission;
    let length = |millis: i64| format!("{:?}", Duration::from_millis(millis as u64));
    let mut lines = Vec::new();
    match every {
        Some(every) => lines.push(format!(
            "results come early: every {}, rows that have changed, and each once more when its window closes, final",
            length(*every)
        )),
        None => lines.push("results come when a window closes, final".to_owned()),
    }
    if *allowed_lateness > 0 {
        let lateness = length(*allowed_lateness);
        lines.push(format!("late rows correct them for {lateness} of event time; windows are kept as long"));
    }
    if pipeline.emission.revises() {
        lines.push("keeps the rows written of each window that may still change, to compare them".to_owned());
    }
    if let Some(count) = fill {
        lines.push(format!("a group has rows in {count} windows after its last with rows: count 0, sum NULL"));
    }
    lines
}

fn plan_lines(plan: &LogicalPlan) -> impl Iterator<Item = String> + use<> {
    let lines: Vec<_> = plan.display_indent().to_string().lines().map(|line| format!("at close: {line}")).collect();
    lines.into_iter()
}

fn window_lines(windowed: &Windowed, input: usize, number: &str) -> Vec<String> {
    let lane: &WindowPlan = &windowed.inputs[input];
    let mut lines = vec![format!("window{number} {}, closes at the watermark", lane.windows)];
    match (lane.windows, &lane.sessions) {
        (Windows::Hop { .. }, _) => lines.push(format!(
            "a row is counted once, into a pane that windows share; a window is up to {} panes",
            lane.windows.panes_per_window()
        )),
        (Windows::Cumulate { .. }, _) => {
            lines.push("a row is counted once, into the first step that it is in; later steps carry it on".into());
        }
        (_, Some(sessions)) => {
            let keys: Vec<_> = sessions.keys.iter().map(|key| key.to_string()).collect();
            let of = if keys.is_empty() { "all rows".into() } else { keys.join(", ") };
            lines.push(format!("sessions of {of}; found in each partition, and joined when they close"));
        }
        _ => {}
    }
    lines.extend(stage_lines(&lane.after));
    if let Some(duplicates) = windowed.duplicates.get(&input) {
        return duplicate_lines(duplicates, number);
    }
    if windowed.collects(input) {
        let columns: Vec<_> = lane.keys.iter().map(|key| key.to_string()).collect();
        lines.push(match columns.is_empty() {
            true => "keeps the number of rows of each open window".to_owned(),
            false => {
                format!("keeps the rows of each open window, equal ones once with their number: {}", columns.join(", "))
            }
        });
        return lines;
    }
    let keys: Vec<_> = lane.keys.iter().map(|key| key.to_string()).collect();
    let aggregates: Vec<_> = lane.layout.aggregates().iter().map(|it| it.name().to_owned()).collect();
    let by = if keys.is_empty() { "window only".into() } else { format!("window, {}", keys.join(", ")) };
    lines.push(format!("groups by {by}: {}", aggregates.join(", ")));
    if !lane.grouping_sets.is_empty() {
        lines.push(format!(
            "kept by all keys together, and summed up for {} grouping sets at close",
            lane.grouping_sets.len()
        ));
    }
    let state: Vec<_> =
        lane.layout.state_schema().fields().iter().skip(keys.len()).map(|it| sql_name(it.data_type())).collect();
    lines.push(format!(
        "keeps per open {} and group: the key and {}",
        match lane.windows {
            Windows::Hop { .. } | Windows::Cumulate { .. } => "pane",
            Windows::Session { .. } => "session",
            Windows::Tumble(_) => "window",
        },
        if state.is_empty() { "nothing more".into() } else { state.join(", ") }
    ));
    if let Some(undo) = lane.layout.undo() {
        lines.push("takes rows back: a hidden count of rows per group; a group without rows has no result".into());
        lines.extend(undo.iter().map(|undo| format!("  {}", undo.describe())));
    }
    lines
}

/// How rows are deduplicated.
fn duplicate_lines(plan: &DuplicatePlan, number: &str) -> Vec<String> {
    let names: Vec<_> = plan.keys.iter().map(|&key| plan.rows.field(key).name().as_str()).collect();
    let within = Span::Fixed(plan.within);
    let (which, state) = match plan.keep {
        Keep::First => {
            ("without another in the time before it, when the watermark has passed it", "the time of the last row")
        }
        Keep::Last => ("without another in the time after it, when the watermark has passed that", "the last row"),
    };
    vec![
        format!("deduplication{number} by {} within {within}: a row stays {which}", names.join(", ")),
        format!("keeps {state} of each key for {within}, and the rows that the watermark has not passed"),
    ]
}

fn stage_lines(stages: &[Stage]) -> Vec<String> {
    stages
        .iter()
        .map(|stage| match stage {
            Stage::Filter(predicate) => format!("keeps rows where {predicate}"),
            Stage::Project(expressions, _) => {
                format!("computes {}", expressions.iter().map(|it| it.to_string()).collect::<Vec<_>>().join(", "))
            }
            Stage::Lookup(lookup) => lookup_line(lookup),
            Stage::Unnest(unnest) => {
                let items =
                    if unnest.keeps_empty { "item of its array, or once with NULL" } else { "item of its array" };
                format!("gives each row once for each {items}")
            }
            Stage::Windows(RowWindows { windows, .. }) => {
                format!("adds the bounds of its window to each row ({windows}), once for each that it is in")
            }
        })
        .collect()
}

fn lookup_line(lookup: &Lookup) -> String {
    let keys: Vec<_> = lookup.keys.iter().map(|key| key.to_string()).collect();
    let filter = lookup.filter.as_ref().map(|it| format!(", where {it}")).unwrap_or_default();
    let (keys, table) = (keys.join(", "), &lookup.table.name);
    match lookup.kind {
        LookupKind::Inner => format!("joins with the rows of {table} as they are now, found by {keys}{filter}"),
        LookupKind::Outer => {
            format!("joins with the rows of {table} as they are now, found by {keys}{filter}; without one, with NULL")
        }
        LookupKind::Semi => format!("keeps rows that have one in {table} as it is now, found by {keys}{filter}"),
        LookupKind::Anti { .. } => {
            format!("keeps rows that have none in {table} as it is now, found by {keys}{filter}")
        }
    }
}

/// A small table: where it is, and how it is kept current.
fn small_line(small: &SmallTable) -> Result<String> {
    let (table, option) = (&small.table, |name: &str| small.table.options.get(name).unwrap_or_default());
    let connector = option("connector");
    let own =
        if connector == "clickhouse" { option("table").to_owned() } else { [option("topic"), option("path")].concat() };
    let place = if own.is_empty() { table.name.clone() } else { own };
    let every = table.reload_interval()?.map(|every| match connector {
        "kafka" => format!("followed, what comes is there within {every:?}"),
        _ => format!("read again every {every:?}"),
    });
    let latest = if table.keeps_latest() { ", the latest of each key" } else { "" };
    Ok(format!(
        "{} ← {connector} {place}: a small table, in memory as a whole{latest}; {}; columns {}",
        table.name,
        every.unwrap_or_else(|| "read once, when the job starts".to_owned()),
        columns(&small.scan)
    ))
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter().filter(|field| !METADATA.contains(&field.name().as_str()));
    let columns: Vec<_> = columns.map(|field| format!("{} {}", field.name(), sql_name_of(field))).collect();
    if columns.is_empty() { "no columns".into() } else { columns.join(", ") }
}

fn place(output: &OutputTable) -> String {
    let options = &output.options;
    let connector = options.get("connector").unwrap_or("print");
    let at = options.get("table").or_else(|| options.get("path")).unwrap_or_default();
    format!("{connector} {at}").trim_end().to_owned()
}

fn form(form: &TableForm) -> &'static str {
    match form {
        TableForm::Log => "each row once",
        TableForm::Mirror => "one row per primary key, the newest",
        TableForm::Multiset => "each row as often as the table has it",
        TableForm::Results => "each window and group once, final",
        TableForm::Revised => "one row per window and group, the newest",
        TableForm::Late => "each late row once",
        TableForm::DeadLetters => "each record once",
    }
}
