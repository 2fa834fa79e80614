//! `EMIT …`: when the results of a windowed query come.
//!
//! ```text
//!  EMIT ON WINDOW CLOSE [ALLOWED LATENESS INTERVAL '1' MINUTE] [FILL EMPTY WINDOWS FOR 12]
//!  EMIT CHANGES [EVERY INTERVAL '5' SECOND] [ALLOWED LATENESS INTERVAL '1' MINUTE]
//! ```

use std::time::Duration;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::pipeline::{ResultColumn, RowIdentity};
use super::trace::{Origins, closed_input, unaliased};
use crate::error::Result;
use crate::options::Options;
use crate::sql::define::catalog::Table;
use crate::sql::define::interval::interval_millis;
use crate::sql::refusal::{Refusal, Result as Planned, refuse_at};
use crate::sql::tokens::{StatementReader, is_unquoted};
use crate::window::assigner::Windows;

/// The option that says how long a closed window may still change: of a table that is read, or one that is filled.
pub const ALLOWED_LATENESS: &str = "allowed-lateness";
/// How often early results come when the query does not say.
const EVERY: i64 = 1_000;

/// An `EMIT` clause. Milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmitClause {
    /// How often early results come, if at all.
    pub every: Option<i64>,
    /// How long a closed window may still change, where the clause says it.
    pub allowed_lateness: Option<i64>,
    /// For how many windows a group that has no more rows gets a row all the same.
    pub fill: Option<u64>,
    /// Where it stands, if it is more than the default.
    pub place: Option<Location>,
}

/// When the results of a query come. Milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emission {
    /// How often early results come, if at all.
    pub every: Option<i64>,
    /// How long a closed window may still change.
    pub allowed_lateness: i64,
    /// For how many windows a group that has no more rows gets a row all the same.
    pub fill: Option<u64>,
}

impl Emission {
    /// Of a clause, and the options of the table that is filled and of those that are read: the clause says it, else the table that
    /// is filled, else the greatest of the tables that are read.
    pub fn of(clause: &EmitClause, target: Option<&Table>, sources: &[&Table]) -> Result<Self> {
        let option = |options: &Options| {
            let lateness = options.get(ALLOWED_LATENESS).map(|_| options.duration(ALLOWED_LATENESS, Duration::ZERO));
            lateness.transpose().map(|it| it.map(|it| it.as_millis() as i64))
        };
        let filled = target.map(|target| option(&target.options)).transpose()?.flatten();
        let mut read = None;
        for source in sources {
            read = read.max(option(&source.options)?);
        }
        let allowed_lateness = clause.allowed_lateness.or(filled).or(read).unwrap_or(0);
        Ok(Self { every: clause.every, allowed_lateness, fill: clause.fill })
    }

    /// Refuses what does not go together. `windows` of a query that has some.
    pub(super) fn check(&self, clause: &EmitClause, windows: Option<Windows>) -> Planned<()> {
        let refuse = |message: &str| match clause.place {
            Some(place) => Err(Refusal::Place(place, message.to_owned())),
            None => Err(Refusal::Query(message.to_owned())),
        };
        let Some(windows) = windows else {
            // Rows come as they are read: that is what EMIT CHANGES asks for.
            return match (clause.every, clause.allowed_lateness, clause.fill) {
                (None | Some(EVERY), None, None) => Ok(()),
                _ => refuse(
                    "this query has no window, so its rows are written as they come, once; leave this clause out",
                ),
            };
        };
        if self.fill.is_none() {
            return Ok(());
        }
        if self.revises() {
            return refuse(
                "FILL EMPTY WINDOWS works on final results only; leave out early results (EMIT CHANGES) and allowed lateness",
            );
        }
        match windows {
            Windows::Session { .. } => {
                refuse("FILL EMPTY WINDOWS needs windows that are there without rows; a session is made by its rows")
            }
            Windows::Cumulate { on_update: true, .. } => refuse(
                "FILL EMPTY WINDOWS and emitOnlyOnUpdate ask for the opposite: rows of groups without changes, and none; leave out one",
            ),
            _ => Ok(()),
        }
    }

    /// Whether a row may be written more than once, each time in place of the one before.
    pub fn revises(&self) -> bool {
        self.every.is_some() || self.allowed_lateness > 0
    }
}

impl StatementReader<'_> {
    /// Takes an `EMIT …` clause off the end of the statement.
    pub(in crate::sql) fn emission(&mut self) -> Result<EmitClause> {
        let mut depth = 0_i32;
        let emit = (self.at..self.tokens.len()).find(|&at| {
            match &self.tokens[at].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            // `SELECT emit FROM …` is a column.
            let is_name = |next: &TokenWithSpan| ["FROM", "AS"].iter().any(|word| is_unquoted(&next.token, word));
            let is_clause = |next: &TokenWithSpan| matches!(next.token, Token::Word(_)) && !is_name(next);
            let follows = self.tokens.get(at + 1).is_none_or(is_clause);
            depth == 0 && at > self.at && is_unquoted(&self.tokens[at].token, "EMIT") && follows
        });
        let Some(emit) = emit else { return Ok(EmitClause::default()) };
        let tokens = self.tokens.split_off(emit);
        StatementReader { text: self.text, tokens, at: 1 }.emit_clause()
    }

    fn emit_clause(mut self) -> Result<EmitClause> {
        let mut clause = EmitClause::default();
        if self.take_words(&["CHANGES"]) {
            clause.every = Some(EVERY);
            if self.take_words(&["EVERY"]) {
                clause.every = Some(self.length("EVERY")?);
            }
        } else if !self.take_words(&["ON", "WINDOW", "CLOSE"]) {
            let message = format!(
                "expected EMIT ON WINDOW CLOSE or EMIT CHANGES, found {}; final results come with the first, early ones with the second",
                self.found()
            );
            return Err(self.error(message).into());
        }
        while self.at < self.tokens.len() {
            if clause.allowed_lateness.is_none() && self.take_words(&["ALLOWED", "LATENESS"]) {
                clause.allowed_lateness = Some(self.length("ALLOWED LATENESS")?);
            } else if clause.fill.is_none() && self.take_words(&["FILL", "EMPTY", "WINDOWS"]) {
                self.expect_word("FOR")?;
                clause.fill = Some(self.window_count()?);
            } else {
                let message = format!(
                    "expected the end of the statement, found {}; after {} there may be {}",
                    self.found(),
                    if clause.every.is_some() { "EMIT CHANGES" } else { "EMIT ON WINDOW CLOSE" },
                    match clause.every {
                        Some(_) => "EVERY INTERVAL '5' SECOND, then ALLOWED LATENESS INTERVAL '1' MINUTE",
                        None => "ALLOWED LATENESS INTERVAL '1' MINUTE, or FILL EMPTY WINDOWS FOR 12",
                    }
                );
                return Err(self.error(message).into());
            }
        }
        let place = (clause != EmitClause::default()).then(|| self.tokens[0].span.start);
        Ok(EmitClause { place, ..clause })
    }

    /// An INTERVAL of some milliseconds.
    fn length(&mut self, what: &str) -> Result<i64> {
        let place = self.place();
        let expression = self.parse(|parser| parser.parse_expr())?;
        let millis = interval_millis(&expression).map_err(|message| self.text.error(place, message))?;
        if millis <= 0 {
            return Err(self
                .text
                .error(place, format!("{what} takes a length of time, such as INTERVAL '5' SECOND"))
                .into());
        }
        Ok(millis)
    }

    fn window_count(&mut self) -> Result<u64> {
        let count = match self.tokens.get(self.at).map(|token| &token.token) {
            Some(Token::Number(text, _)) => text.parse().ok().filter(|count| *count > 0),
            _ => None,
        };
        let Some(count) = count else {
            let message = format!(
                "expected a number of windows, found {}; FILL EMPTY WINDOWS FOR 12: a group gets rows for 12 windows after its last",
                self.found()
            );
            return Err(self.error(message).into());
        };
        self.at += 1;
        self.take_words(&["WINDOWS"]);
        Ok(count)
    }
}

/// What tells the rows of a revised query from each other, given the plan over its closed windows.
pub(super) fn row_identity(plan: &LogicalPlan, origins: &Origins<'_>, windows: Windows) -> Planned<RowIdentity> {
    let mut bounds = [None; 3];
    let (mut key, mut keys, mut is_cast) = (Vec::new(), Vec::new(), false);
    for (place, field) in plan.schema().fields().iter().enumerate() {
        let Some(Origin { column, cast }) = origin(plan, place, origins) else { continue };
        let data_type = field.data_type();
        match column {
            ResultColumn::Window(bound) if keeps_time(data_type, windows) => {
                bounds[bound] = bounds[bound].or(Some(place));
                key.push(place);
            }
            ResultColumn::Key(number) if !data_type.is_floating() && !data_type.is_nested() => {
                key.push(place);
                keys.push(number);
                is_cast |= cast;
            }
            _ => {}
        }
    }
    let [start, end, time] = bounds.map(|bound| bound.is_some());
    let (is_known, wanted) = match windows {
        Windows::Tumble(_) => (start || end || time, "window_start or window_end"),
        Windows::Hop { .. } => (start, "window_start"),
        Windows::Cumulate { .. } => (end || time, "window_end"),
        Windows::Session { .. } => (start && (end || time), "window_start and window_end"),
    };
    if !is_known {
        return refuse_at(
            &["EMIT", "SELECT"],
            format!(
                "early and corrected results replace the rows of their window, which the result must say: select {wanted} as it is"
            ),
        );
    }
    let has = |number: usize| keys.contains(&number);
    let is_whole = |column: &ResultColumn| match column {
        ResultColumn::Key(number) => has(*number),
        ResultColumn::GroupingSet => false,
        _ => true,
    };
    // Of several inputs, a row may be of several groups.
    let all = match origins.0 {
        [only] => !only.collected && only.columns.iter().all(is_whole),
        _ => false,
    };
    Ok(RowIdentity { bounds, key, numbered: !all || is_cast || !keeps_groups(plan) })
}

/// A column of an input's rows that an output column is.
struct Origin {
    column: ResultColumn,
    /// Whether it is another type since.
    cast: bool,
}

/// Follows an output column down to the rows of closed windows. Rows that have been kept as they are have no keys.
fn origin(plan: &LogicalPlan, column: usize, origins: &Origins<'_>) -> Option<Origin> {
    if let Some(bound) = origins.bound(plan, column).filter(|bound| !bound.nullable) {
        return Some(Origin { column: ResultColumn::Window(bound.bound), cast: false });
    }
    let through = |input: &LogicalPlan, expression: Option<&Expr>| {
        let (inner, cast) = match unaliased(expression?) {
            Expr::Cast(cast) => (unaliased(&cast.expr), true),
            other => (other, false),
        };
        let below = match inner {
            Expr::Column(inner) => origin(input, input.schema().maybe_index_of_column(inner)?, origins)?,
            other => {
                let bound = origins.bound_of(input, other).filter(|bound| !bound.nullable)?;
                Origin { column: ResultColumn::Window(bound.bound), cast: false }
            }
        };
        Some(Origin { cast: below.cast || cast, ..below })
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let number = closed_input(scan)?;
            let input = origins.0.iter().find(|input| input.rows.number() == number && !input.collected)?;
            input.columns.get(column).map(|column| Origin { column: *column, cast: false })
        }
        LogicalPlan::Aggregate(it) => through(&it.input, it.group_expr.get(column)),
        LogicalPlan::Projection(it) => through(&it.input, it.expr.get(column)),
        LogicalPlan::Window(it) => {
            (column < it.input.schema().fields().len()).then(|| origin(&it.input, column, origins)).flatten()
        }
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().and_then(|it| origin(it, column, origins)),
        _ => None,
    }
}

/// Whether a type holds a window's bounds as they are.
fn keeps_time(data_type: &DataType, windows: Windows) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => windows.in_whole_seconds(),
        DataType::Timestamp(..) => true,
        _ => false,
    }
}

/// Whether every row of the result is of one row of closed windows.
fn keeps_groups(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Window(_) => plan.inputs().into_iter().all(keeps_groups),
        _ => false,
    }
}
