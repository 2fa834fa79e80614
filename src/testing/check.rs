//! What came beside what was expected.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{RecordBatch, cast::AsArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};

use super::case::{Case, Expected};
use super::cells::{Table, cells, lines, number_of};
use super::record::Input;
use super::run::Came;
use crate::change::TopicPartition;
use crate::error::{Error, Result, suggestion};
use crate::sink::clickhouse::keeps_deleted;
use crate::sink::{COUNT, IS_DELETED, OutputTable, POSITION, TableForm, VERSION};

/// How many rows a complaint shows.
const SHOWN: usize = 40;

/// An output of the job as a case sees it.
#[derive(Debug)]
pub struct Output<'a> {
    /// Its name in cases.
    pub name: String,
    /// What it is.
    pub table: &'a OutputTable,
    /// All its rows; of a mirror and of revised results, those that are there at the end.
    pub rows: Vec<Vec<String>>,
    /// Whether these are all rows that were ever written, of such an output.
    pub with_history: bool,
    /// Where the rows of late tables and dead letters come from, and the reason.
    pub sources: Vec<(TopicPartition, i64, String)>,
}

/// The outputs of what came.
pub fn outputs(came: &Came) -> Result<Vec<Output<'_>>> {
    let mut outputs: Vec<Output<'_>> = Vec::new();
    for (table, batches) in came.tables.iter().zip(&came.rows) {
        let name = match table.form {
            TableForm::DeadLetters => "dead_letters",
            _ => table.options.table(),
        };
        let is_other = |it: &&Output<'_>| !it.with_history && it.table.options.table() == name;
        let twice = outputs.iter().filter(is_other).count();
        let name = if twice == 0 { name.to_owned() } else { format!("{name}_{}", twice + 1) };
        let rows = batches.iter().map(cells).collect::<Result<Vec<_>>>()?.concat();
        if table.form == TableForm::Revised {
            let (name, rows) = (format!("{name}_versions"), rows.clone());
            outputs.push(Output { name, table, rows, with_history: true, sources: Vec::new() });
        }
        let rows = match table.form {
            TableForm::Mirror | TableForm::Revised => current(table, rows)?,
            TableForm::Multiset => counted(table, rows)?,
            _ => rows,
        };
        let sources = match table.form {
            TableForm::Late | TableForm::DeadLetters => batches.iter().flat_map(sources).collect(),
            _ => Vec::new(),
        };
        outputs.push(Output { name, table, rows, with_history: false, sources });
    }
    Ok(outputs)
}

/// The rows of a mirror that are there: of each key the newest, unless it is deleted, or older than a truncate.
fn current(table: &OutputTable, rows: Vec<Vec<String>>) -> Result<Vec<Vec<String>>> {
    let keeps_deleted = keeps_deleted(table)?;
    let place = |name: &str| table.schema.index_of(name).map_err(Error::internal);
    let (version, deleted) = (place(VERSION)?, place(IS_DELETED)?);
    let version = |row: &[String]| row[version].parse::<u64>().unwrap_or_default();
    let key = table.key.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?;
    let (truncates, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row[deleted] == "2");
    let truncated = truncates.iter().map(|row| version(row)).max();
    let mut newest: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !keeps_deleted || row[deleted] == "0") {
        let name: Vec<String> = key.iter().map(|&at| row[at].clone()).collect();
        match newest.get(&name) {
            Some(other) if version(other) > version(&row) => {}
            _ => drop(newest.insert(name, row)),
        }
    }
    let is_there = |row: &Vec<String>| row[deleted] == "0" && truncated.is_none_or(|at| version(row) > at);
    Ok(newest.into_values().filter(is_there).collect())
}

/// The rows of a mirror without a key, each as often as it is there.
fn counted(table: &OutputTable, rows: Vec<Vec<String>>) -> Result<Vec<Vec<String>>> {
    let count = table.schema.index_of(COUNT).map_err(Error::internal)?;
    let mut counts: BTreeMap<Vec<String>, (i64, Vec<String>)> = BTreeMap::new();
    for row in rows {
        let entry = counts.entry(row[..table.visible].to_vec()).or_insert_with(|| (0, row.clone()));
        entry.0 += row[count].parse::<i64>().map_err(Error::internal)?;
    }
    let repeated =
        |(count, row): (i64, Vec<String>)| std::iter::repeat_n(row, usize::try_from(count).unwrap_or_default());
    Ok(counts.into_values().flat_map(repeated).collect())
}

fn sources(batch: &RecordBatch) -> Vec<(TopicPartition, i64, String)> {
    let columns = POSITION.map(|name| batch.column_by_name(name));
    let [Some(topics), Some(partitions), Some(offsets)] = columns else { return Vec::new() };
    let topics = topics.as_string::<i32>();
    let (partitions, offsets) = (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
    let reason = batch.column_by_name("reason").and_then(|column| column.as_string_opt::<i32>());
    let source = |row: usize| {
        let partition = TopicPartition { topic: topics.value(row).into(), partition: partitions.value(row) };
        (partition, offsets.value(row), reason.map_or("", |it| it.value(row)).to_owned())
    };
    (0..batch.num_rows()).map(source).collect()
}

impl Output<'_> {
    fn is_main(&self) -> bool {
        !self.with_history && !matches!(self.table.form, TableForm::Late | TableForm::DeadLetters)
    }

    /// The columns that are shown when nobody has said which.
    fn default_columns(&self) -> Vec<String> {
        let names = || self.table.schema.fields().iter().map(|field| field.name().clone());
        match self.table.form {
            TableForm::DeadLetters => {
                ["_table", "_partition", "_offset", "reason", "message"].map(str::to_owned).to_vec()
            }
            TableForm::Late => names().filter(|name| !POSITION.contains(&name.as_str())).collect(),
            _ if self.with_history => names().filter(|name| name != VERSION).collect(),
            _ => names().take(self.table.visible).collect(),
        }
    }

    /// Its rows as an expectation has them: its columns, in its order; otherwise sorted.
    pub fn like(&self, case: &Case, expected: Option<&Expected>) -> Result<Table> {
        let given = expected.and_then(|it| it.rows.as_ref()).map(|rows| rows.columns.clone());
        let columns = given.unwrap_or_else(|| self.default_columns());
        let place = |name: &String| {
            self.table.schema.index_of(name).map_err(|_| {
                let names: Vec<_> = self.table.schema.fields().iter().map(|it| it.name().as_str()).collect();
                let hint = suggestion(name, names.iter().copied());
                let known = format!("table \"{}\" has no column \"{name}\"; it has {}", self.name, names.join(", "));
                case.error(expected.map_or(1, |it| it.line), format!("{known}{hint}"))
            })
        };
        let places = columns.iter().map(place).collect::<Result<Vec<_>>>()?;
        let mut rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| places.iter().map(|&at| row[at].clone()).collect()).collect();
        if !expected.is_some_and(|it| it.in_order) {
            rows.sort();
        }
        Ok(Table { columns, rows })
    }
}

/// What each section expects of which output.
pub fn matched<'a, 'b>(case: &'a Case, outputs: &'b [Output<'b>]) -> Result<Vec<(&'a Expected, &'b Output<'b>)>> {
    let names = || outputs.iter().map(|output| output.name.as_str());
    let main: Vec<_> = outputs.iter().filter(|output| output.is_main()).collect();
    let unknown = |name: &str| {
        let known = names().collect::<Vec<_>>().join(", ");
        format!("the query fills no table \"{name}\"; there are {known}{}", suggestion(name, names()))
    };
    for name in &case.unchecked {
        if !names().any(|it| it == name) {
            let line = case.lines.iter().position(|it| it.starts_with("=== unchecked")).unwrap_or_default();
            return Err(case.error(line + 1, unknown(name)));
        }
    }
    let find = |expected: &'a Expected| match (expected.table.as_str(), main.as_slice()) {
        ("", [one]) => Ok((expected, *one)),
        ("", _) => Err(case.error(expected.line, "the query fills several tables; write === expected TABLE")),
        (name, _) => match outputs.iter().find(|output| output.name == name) {
            Some(output) => Ok((expected, output)),
            None => Err(case.error(expected.line, unknown(name))),
        },
    };
    case.expected.iter().map(find).collect()
}

/// What is wrong with what came, a line each; nothing when all is well.
pub fn check(case: &Case, came: &Came) -> Result<Vec<String>> {
    let outputs = outputs(came)?;
    let matched = matched(case, &outputs)?;
    let mut complaints = Vec::new();
    for (expected, output) in &matched {
        let found = output.like(case, Some(expected))?;
        let mut wanted =
            expected.rows.clone().unwrap_or_else(|| Table { columns: found.columns.clone(), rows: vec![] });
        for (at, column) in wanted.columns.iter().enumerate() {
            let field = output.table.schema.field_with_name(column);
            let data_type = field.map(|field| field.data_type().clone()).map_err(Error::internal)?;
            wanted.rows.iter_mut().for_each(|row| row[at] = number_of(&row[at], &data_type));
        }
        complaints.extend(difference(
            &format!("{}:{}", case.file, expected.line),
            &output.name,
            wanted,
            found,
            expected.in_order,
        ));
    }
    let has_section = |output: &Output<'_>| {
        matched.iter().any(|(_, it)| it.name == output.name) || case.unchecked.contains(&output.name)
    };
    for output in outputs.iter().filter(|it| it.is_main() && !it.rows.is_empty() && !has_section(it)) {
        let (count, name) = (output.rows.len(), &output.name);
        complaints.push(format!(
            "{}: table \"{name}\" got {count} rows, of which the case says nothing; write === expected {name}, or === unchecked {name}",
            case.file
        ));
        let rows = output.like(case, None)?;
        complaints.extend(lines(&rows.columns, &rows.rows).into_iter().take(SHOWN).map(|line| format!("    {line}")));
    }
    complaints.extend(check_marks(case, came, &outputs, &has_section)?);
    Ok(complaints)
}

/// What the marks of a record should be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In which late table it is.
    pub late: Option<String>,
    /// With which reason it is a dead letter.
    pub dead: Option<String>,
}

/// What became of each input, as far as it is to be marked: what a section of the case has needs no mark.
pub fn verdicts(came: &Came, outputs: &[Output<'_>], wanted: impl Fn(&Output<'_>) -> bool) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::default(); came.positions.len()];
    let places: BTreeMap<_, _> = came.positions.iter().enumerate().map(|(place, it)| (it.clone(), place)).collect();
    for output in outputs.iter().filter(|it| wanted(it)) {
        for (partition, offset, reason) in &output.sources {
            let Some(&place) = places.get(&(partition.clone(), *offset)) else { continue };
            match output.table.form {
                TableForm::Late => verdicts[place].late = Some(output.name.clone()),
                _ => verdicts[place].dead = Some(reason.clone()),
            }
        }
    }
    verdicts
}

fn check_marks(
    case: &Case,
    came: &Came,
    outputs: &[Output<'_>],
    has_section: &dyn Fn(&Output<'_>) -> bool,
) -> Result<Vec<String>> {
    let all = verdicts(came, outputs, |_| true);
    let unsaid = verdicts(came, outputs, |output| !has_section(output));
    let mut complaints = Vec::new();
    for ((input, all), unsaid) in case.inputs.iter().zip(all).zip(unsaid) {
        let mut complain = |message: String| complaints.push(input.error(message).to_string());
        match (input.late, &all.late, unsaid.late) {
            (true, None, _) => complain("this record is marked as late, but it is in no late table".into()),
            (false, _, Some(table)) => {
                complain(format!("this record came late, it is in \"{table}\"; mark it: -- late"));
            }
            _ => {}
        }
        match (&input.dead, &all.dead, unsaid.dead) {
            (Some(_), None, _) => complain("this record is marked as dead, but it is no dead letter".into()),
            (Some(Some(marked)), Some(reason), _) if marked != reason => {
                complain(format!("this record is marked as dead ({marked}), but the reason is {reason}"));
            }
            (None, _, Some(reason)) => {
                complain(format!(
                    "this record is a dead letter{}; mark it: -- dead {reason}",
                    message_of(came, input, case)?
                ));
            }
            _ => {}
        }
    }
    let known: BTreeSet<_> = came.positions.iter().collect();
    for output in outputs.iter().filter(|output| !has_section(output)) {
        let strangers = output
            .sources
            .iter()
            .zip(&output.rows)
            .filter(|((it, offset, _), _)| !known.contains(&(it.clone(), *offset)));
        for (_, row) in strangers {
            let name = &output.name;
            complaints.push(format!(
                "{}: \"{name}\" has a row that is of no record; write === expected {name}: {}",
                case.file,
                row.join(" | ")
            ));
        }
    }
    Ok(complaints)
}

/// Why a record is a dead letter.
fn message_of(came: &Came, input: &Input, case: &Case) -> Result<String> {
    let place = case.inputs.iter().position(|it| std::ptr::eq(it, input));
    let Some((partition, offset)) = place.map(|place| &came.positions[place]) else { return Ok(String::new()) };
    for (table, batches) in came.tables.iter().zip(&came.rows).filter(|(it, _)| it.form == TableForm::DeadLetters) {
        let at = table.schema.index_of("message").map_err(Error::internal)?;
        for batch in batches {
            let row = sources(batch).iter().position(|it| (&it.0, &it.1) == (partition, offset));
            if let Some(row) = row {
                return Ok(format!(" ({})", batch.column(at).as_string::<i32>().value(row)));
            }
        }
    }
    Ok(String::new())
}

/// The rows that are missing (`-`) and those that are too many (`+`).
fn difference(place: &str, name: &str, wanted: Table, found: Table, in_order: bool) -> Vec<String> {
    let Table { columns, rows: mut wanted } = wanted;
    let mut found = found.rows;
    let (mut sorted, mut sorted_found) = (wanted.clone(), found.clone());
    sorted.sort();
    sorted_found.sort();
    let is_order = in_order && sorted == sorted_found;
    if (is_order && wanted == found) || (!in_order && sorted == sorted_found) {
        return Vec::new();
    }
    if !is_order {
        (wanted, found) = (sorted, sorted_found);
    }
    let (rows, same) = if is_order { in_turn(&wanted, &found) } else { merged(wanted, found) };
    let count = |wanted: &str| rows.iter().filter(|(sign, _)| *sign == wanted).count();
    let what = match is_order {
        true => "the rows are right, their order is not".to_owned(),
        false => format!("{} missing (-), {} not expected (+), {same} right", count("-"), count("+")),
    };
    let mut complaints = vec![format!("{place}: {name}: {what}")];
    let cut = rows.len().saturating_sub(SHOWN);
    let table: Vec<_> = rows.iter().take(SHOWN).map(|(_, row)| row.clone()).collect();
    let signs = [" "].into_iter().chain(rows.iter().map(|(sign, _)| *sign));
    complaints.extend(signs.zip(lines(&columns, &table)).map(|(sign, line)| format!("  {sign} {line}")));
    if cut > 0 {
        complaints.push(format!("    … and {cut} more"));
    }
    complaints
}

/// Sorted rows beside each other: what only one has, with its sign; and how many both have.
fn merged(wanted: Vec<Vec<String>>, found: Vec<Vec<String>>) -> (Vec<(&'static str, Vec<String>)>, usize) {
    let (mut rows, mut same) = (Vec::new(), 0);
    let (mut wanted, mut found) = (wanted.into_iter().peekable(), found.into_iter().peekable());
    loop {
        let order = match (wanted.peek(), found.peek()) {
            (None, None) => return (rows, same),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(other),
        };
        if order.is_le() {
            let row = wanted.next();
            if order.is_lt() { rows.extend(row.map(|row| ("-", row))) } else { same += 1 }
        }
        if order.is_ge() {
            let row = found.next();
            if order.is_gt() {
                rows.extend(row.map(|row| ("+", row)));
            }
        }
    }
}

/// Rows in their two orders, where these differ.
fn in_turn(wanted: &[Vec<String>], found: &[Vec<String>]) -> (Vec<(&'static str, Vec<String>)>, usize) {
    let pairs = wanted.iter().zip(found).filter(|(one, other)| one != other);
    let rows: Vec<_> = pairs.flat_map(|(one, other)| [("-", one.clone()), ("+", other.clone())]).collect();
    let same = wanted.len() - rows.len() / 2;
    (rows, same)
}
