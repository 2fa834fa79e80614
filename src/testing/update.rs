//! Writing what came back into the file of a case.

use std::collections::BTreeMap;

use super::case::Case;
use super::cells::{Table, lines};
use super::check::{Output, matched, outputs, verdicts};
use super::run::Came;
use crate::change::TopicPartition;
use crate::error::Result;
use crate::sink::TableForm;

/// The text of a case that expects what came: rows, and the marks of late and dead records. What is right already stays as it is.
pub fn update(case: &Case, came: &Came) -> Result<String> {
    let outputs = outputs(came)?;
    let matched = matched(case, &outputs)?;
    let mut replaced: BTreeMap<usize, Option<String>> = BTreeMap::new();
    let mut before: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (expected, output) in &matched {
        let found = output.like(case, Some(expected))?;
        let mut wanted = expected.rows.clone().unwrap_or_default();
        if !expected.in_order {
            wanted.rows.sort();
        }
        if wanted.rows == found.rows {
            continue;
        }
        let is_row = |line: &usize| {
            let text = &case.lines[*line - 1];
            !text.trim().is_empty() && !text.starts_with('#')
        };
        let old: Vec<usize> = expected.body.clone().filter(is_row).collect();
        old.iter().for_each(|&line| drop(replaced.insert(line, None)));
        let at = old.first().copied().unwrap_or(expected.line + 1);
        before.insert(at, table_lines(&found));
    }
    let has_section = |name: &str| {
        matched.iter().any(|(_, output)| output.name == name) || case.unchecked.iter().any(|it| it == name)
    };
    let verdicts = verdicts(came, &outputs, |output| !has_section(&output.name));
    for (input, verdict) in case.inputs.iter().zip(verdicts).filter(|(input, _)| input.file == case.file) {
        let is_late_elsewhere = input.late && has_late_section(&matched);
        let dead = input.dead.as_ref().map(|reason| reason.clone().or(verdict.dead.clone()).unwrap_or_default());
        if (verdict.late.is_some() || is_late_elsewhere) == input.late && dead == verdict.dead {
            continue;
        }
        let marks = verdict.late.iter().map(|_| "-- late".to_owned());
        let marks: Vec<_> = marks.chain(verdict.dead.map(|reason| format!("-- dead {reason}"))).collect();
        for line in (1..input.line).rev() {
            let text = &case.lines[line - 1];
            match text.starts_with("-- late") || text.starts_with("-- dead") {
                true => drop(replaced.insert(line, None)),
                false if text.starts_with("-- ") || text.starts_with('#') || text.trim().is_empty() => {}
                false => break,
            }
        }
        before.entry(input.line).or_default().extend(marks);
    }
    let mut text = Vec::new();
    for (line, content) in (1..).zip(&case.lines) {
        text.extend(before.remove(&line).unwrap_or_default());
        if !replaced.contains_key(&line) {
            text.push(content.clone());
        }
    }
    text.extend(before.into_values().flatten());
    let is_new = |output: &&Output<'_>| !output.rows.is_empty() && !output.with_history && !has_section(&output.name);
    for output in outputs.iter().filter(is_new) {
        let is_marked = matches!(output.table.form, TableForm::Late | TableForm::DeadLetters)
            && output.sources.iter().all(|(partition, offset, _)| is_in_file(case, came, partition, *offset));
        if !is_marked {
            text.push(format!("=== expected {}", output.name));
            text.extend(table_lines(&output.like(case, None)?));
        }
    }
    Ok(text.join("\n") + "\n")
}

/// Whether a position is that of a record that is written in the case's own file, where it can be marked.
fn is_in_file(case: &Case, came: &Came, partition: &TopicPartition, offset: i64) -> bool {
    let place = came.positions.iter().position(|it| (&it.0, it.1) == (partition, offset));
    place.is_some_and(|place| case.inputs[place].file == case.file)
}

fn has_late_section(matched: &[(&super::case::Expected, &Output<'_>)]) -> bool {
    matched.iter().any(|(_, output)| output.table.form == TableForm::Late)
}

fn table_lines(table: &Table) -> Vec<String> {
    if table.rows.is_empty() { Vec::new() } else { lines(&table.columns, &table.rows) }
}
