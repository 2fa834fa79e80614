//! `PROCTIME()`: windows of the time at which records are read, for streams without usable times.
//!
//! A table has it as a column, `ts AS PROCTIME()`, or without one, where a query writes `TUMBLE(t, PROCTIME(), …)`. It takes the
//! place of the watermark's column: the clock is the wall clock. Where else it could stand it is refused, because
//! records that are read again after a crash have another.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::pipeline::{Feed, Work};
use super::relation::{Reading, StreamTable};
use crate::sql::define::catalog::{Script, Table, Watermark};
use crate::sql::define::metadata::{Metadata, MetadataOf};
use crate::sql::refusal::{Result as Refused, refuse, refuse_at};
use crate::sql::tokens::is_unquoted;

/// The function's name.
pub const FUNCTION: &str = "PROCTIME";
/// The column of tables that do not declare one.
pub const HIDDEN: &str = "_proctime";

/// A column of it.
pub(in crate::sql) fn field(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false)
}

/// What a column of it is taken from.
pub(in crate::sql) fn metadata() -> Metadata {
    Metadata { key: format!("{FUNCTION}()"), of: MetadataOf::ProcessingTime, nullable: false }
}

/// The clock of a table whose column it is.
pub(in crate::sql) fn watermark(column: &str) -> Watermark {
    Watermark { column: column.to_owned(), delay: 0, idle_timeout: None }
}

/// Gives the tables without a clock this one, when some query mentions it.
pub(in crate::sql) fn offer(script: &mut Script) {
    let views = script.views.iter().map(|view| &view.tokens);
    let mut tokens = script.inserts.iter().map(|insert| &insert.tokens).chain(views).flatten();
    if tokens.any(|it| is_unquoted(&it.token, FUNCTION)) {
        let filled: BTreeSet<_> = script.inserts.iter().filter_map(|insert| insert.target.as_ref()).collect();
        let is_read = |table: &Table| table.watermark.is_none() && !filled.contains(&table.name);
        for table in script.tables.values_mut().filter(|table| is_read(table)) {
            let table = Arc::make_mut(table);
            table.metadata.insert(HIDDEN.to_owned(), metadata());
            table.watermark = Some(watermark(HIDDEN));
        }
    }
}

/// Whether an argument of a window is `PROCTIME()`, also as a DESCRIPTOR.
pub(in crate::sql) fn is_call(argument: &SqlExpr) -> bool {
    let SqlExpr::Function(function) = argument else { return false };
    match &function.args {
        FunctionArguments::List(list) if function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
            matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] if is_call(inner))
        }
        FunctionArguments::List(list) => {
            list.args.is_empty() && function.name.to_string().eq_ignore_ascii_case(FUNCTION)
        }
        _ => false,
    }
}

/// The plan of a table with its column of it, and that column.
pub(super) fn with_column(plan: LogicalPlan) -> Result<(LogicalPlan, Expr)> {
    let LogicalPlan::TableScan(scan) = &plan else {
        return plan_err!(
            "{FUNCTION}() as the time of a window is for a table or CHANGES(table); for anything else declare a column: CREATE TABLE … \
             (…, ts AS {FUNCTION}())"
        );
    };
    let Some(stream) = StreamTable::of(scan) else {
        return plan_err!("\"{}\" is not a table that can be read as a stream", scan.table_name);
    };
    let Some(name) = stream.table.processing_time() else {
        return plan_err!(
            "table \"{0}\" has a WATERMARK, so its windows are of its event time; for windows of {FUNCTION}() declare the same topic as another \
             table, without WATERMARK",
            stream.table.name
        );
    };
    let name = name.to_owned();
    let table = scan.table_name.clone();
    let plan = if name == HIDDEN { stream.with_processing_time().scan()? } else { plan };
    Ok((plan, Expr::Column(Column::new(Some(table), name))))
}

/// What it may not be used for.
pub(super) fn check(feed: &Feed, work: &Work) -> Refused<()> {
    let Feed { table, reading, scan, .. } = feed;
    let Some(column) = table.processing_time().filter(|name| scan.field_with_name(name).is_ok()) else { return Ok(()) };
    match work {
        Work::Window(_) if *reading == Reading::Table => refuse(format!(
            "a window of {FUNCTION}() over the table \"{0}\" would take old rows out of windows that they were never in; to count its change \
             events, write CHANGES({0})",
            table.name
        )),
        Work::Window(_) => Ok(()),
        _ => refuse_at(
            &[column, "*"],
            format!(
                "column \"{column}\" is {FUNCTION}(), another time whenever its record is read, also after a crash; it is only for windows. \
                 Leave it out; CHANGES({}) has _timestamp, when the record was written",
                table.name
            ),
        ),
    }
}

impl Table {
    /// The column of `PROCTIME()`, when its windows are of that.
    pub fn processing_time(&self) -> Option<&str> {
        let column = &self.watermark.as_ref()?.column;
        let metadata = self.metadata.get(column)?;
        (metadata.of == MetadataOf::ProcessingTime).then_some(column.as_str())
    }
}
