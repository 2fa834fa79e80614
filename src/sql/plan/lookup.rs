//! Joins of streams with small tables.
//!
//! ```text
//!  FROM CHANGES(orders) AS o LEFT JOIN stores AS s ON o.store_id = s.id
//!
//!  Join                                 a stage of the lane:
//!   ├─ CHANGES(orders)  rows ─────────► each with the rows that are there for it now
//!   └─ stores ─┐                                 ▲
//!   (filtered) └── read as a whole by the job ───┘
//! ```
//!
//! Above windows, a small table is a table of the closing plan.

use std::cell::RefCell;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{JoinType, NullEquality};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::compile::{RowWise, stream_table};
use super::relation::Reading;
use crate::sql::define::catalog::Table;
use crate::sql::define::small_table::{CACHE, SmallTable};
use crate::sql::refusal::{Result, not_row_wise, refuse, refuse_at};
use crate::window::lookup::{Lookup, LookupKind, SmallRows};
use crate::window::stage::Stage;

/// A join as one of a stream with a small table.
pub(super) struct Sides<'p> {
    join: &'p Join,
    /// The stream.
    pub(super) stream: &'p LogicalPlan,
    small: &'p LogicalPlan,
    small_first: bool,
}

/// The sides of a join, if one of them is a small table and the other has a stream.
pub(super) fn sides(join: &Join) -> Option<Sides<'_>> {
    let (left, right) = (join.left.as_ref(), join.right.as_ref());
    match (is_small(left), is_small(right)) {
        (false, true) if has_tables(left) => Some(Sides { join, stream: left, small: right, small_first: false }),
        (true, false) if has_tables(right) => Some(Sides { join, stream: right, small: left, small_first: true }),
        _ => None,
    }
}

/// Whether a plan reads small tables, and nothing else.
pub(super) fn is_small(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => stream_table(scan).is_ok_and(|it| it.reading == Reading::Lookup),
        LogicalPlan::Extension(_) => false,
        other => {
            let inputs = other.inputs();
            !inputs.is_empty() && inputs.into_iter().all(is_small)
        }
    }
}

fn has_tables(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::TableScan(_)) || plan.inputs().into_iter().any(has_tables)
}

/// Refuses a query that has no stream.
pub(super) fn refuse_alone<T>(plan: &LogicalPlan) -> Result<T> {
    let name = first_table(plan).unwrap_or_default();
    refuse(format!(
        "\"{name}\" is a small table, which is in memory for streams to be joined with: FROM CHANGES(orders) AS o JOIN {name} AS s \
         ON o.id = s.id; to read it as a stream, leave out '{CACHE}' (a table of ClickHouse is no stream)"
    ))
}

fn first_table(plan: &LogicalPlan) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan.table_name.to_string()),
        other => other.inputs().into_iter().find_map(first_table),
    }
}

impl<'p> Sides<'p> {
    /// The column of the stream that a column of the join is.
    pub(super) fn of_stream(&self, column: usize) -> Option<usize> {
        let width = self.stream.schema().fields().len();
        let shift = match self.join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti => 0,
            _ if self.small_first => self.small.schema().fields().len(),
            _ => 0,
        };
        column.checked_sub(shift).filter(|column| *column < width)
    }

    /// What the join looks at in the rows of the stream.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = &'p Expr> {
        let keys = self.join.on.iter().map(|(left, right)| if self.small_first { right } else { left });
        keys.chain(&self.join.filter)
    }

    fn kind(&self) -> Result<LookupKind> {
        let null_aware = self.join.null_aware;
        Ok(match (self.join.join_type, self.small_first) {
            (JoinType::Inner, _) => LookupKind::Inner,
            (JoinType::Left, false) | (JoinType::Right, true) => LookupKind::Outer,
            (JoinType::LeftSemi, false) | (JoinType::RightSemi, true) => LookupKind::Semi,
            (JoinType::LeftAnti, false) | (JoinType::RightAnti, true) => {
                if null_aware && (self.join.on.len() > 1 || self.join.filter.is_some()) {
                    return refuse_at(
                        &["NOT IN", "IN"],
                        "NOT IN with a condition inside is not supported; write NOT EXISTS (SELECT * FROM … WHERE …)",
                    );
                }
                LookupKind::Anti { null_aware }
            }
            (JoinType::LeftMark | JoinType::RightMark, _) => {
                return refuse_at(
                    &["EXISTS", "IN"],
                    "EXISTS and IN beside other conditions (OR) are not supported here; LEFT JOIN the small table, and compare with NULL",
                );
            }
            _ => {
                return refuse_at(
                    &["JOIN"],
                    format!(
                        "this join keeps the rows of the small table \"{}\" that no row has met, which is never known of a stream; \
                         write FROM stream LEFT JOIN {0}",
                        first_table(self.small).unwrap_or_default()
                    ),
                );
            }
        })
    }
}

impl RowWise<'_> {
    /// The stage that joins rows with a small table.
    pub(super) fn lookup(self, sides: &Sides<'_>) -> Result<Stage> {
        let (join, kind) = (sides.join, sides.kind()?);
        let name = first_table(sides.small).unwrap_or_default();
        if join.on.is_empty() {
            return refuse_at(
                &["JOIN", "FROM"],
                format!(
                    "a join with the small table \"{name}\" needs an equality by which its rows are found: … ON o.id = {name}.id"
                ),
            );
        }
        let (mut keys, mut small_keys) = (Vec::new(), Vec::new());
        for (left, right) in &join.on {
            let (of_stream, of_small) = if sides.small_first { (right, left) } else { (left, right) };
            let key = self.physical(of_stream, sides.stream.schema())?;
            let small_key = self.physical(of_small, sides.small.schema())?;
            let types = (
                key.data_type(sides.stream.schema().as_arrow())?,
                small_key.data_type(sides.small.schema().as_arrow())?,
            );
            if types.0 != types.1 {
                let named = |data_type| crate::type_name::sql_name(data_type);
                return refuse(format!(
                    "the join with \"{name}\" compares {of_stream} of type {} with {of_small} of type {}; CAST one of them",
                    named(&types.0),
                    named(&types.1)
                ));
            }
            keys.push(key);
            small_keys.push(small_key);
        }
        let (scan, stages) = self.small_side(sides.small, &name)?;
        let nulls_meet = join.null_equality == NullEquality::NullEqualsNull;
        let schema = Arc::new(sides.small.schema().as_arrow().clone());
        let rows = Arc::new(SmallRows::new(name, schema, small_keys, nulls_meet));
        let joined = Arc::new(join.left.schema().join(join.right.schema())?);
        let filter = join.filter.as_ref().map(|filter| self.physical(filter, &joined)).transpose()?;
        self.note(scan, stages, &rows)?;
        Ok(Stage::Lookup(Arc::new(Lookup {
            table: rows,
            keys,
            kind,
            small_first: sides.small_first,
            filter,
            joined: Arc::new(joined.as_arrow().clone()),
            schema: Arc::new(join.schema.as_arrow().clone()),
        })))
    }

    /// A small table as a table of a plan over closed windows.
    pub(super) fn small_scan(self, scan: &TableScan) -> Result<LogicalPlan> {
        let schema = Arc::new(scan.projected_schema.as_arrow().clone());
        let name = scan.table_name.to_string();
        let rows = Arc::new(SmallRows::new(name, Arc::clone(&schema), Vec::new(), false));
        self.note(scan, Vec::new(), &rows)?;
        let table = Arc::new(SmallScan { rows });
        Ok(LogicalPlanBuilder::scan(scan.table_name.clone(), provider_as_source(table), None)?.build()?)
    }

    fn note(self, scan: &TableScan, stages: Vec<Stage>, rows: &Arc<SmallRows>) -> Result<()> {
        let table = Arc::clone(&stream_table(scan)?.table);
        let scan = Arc::new(scan.projected_schema.as_arrow().clone());
        self.small.borrow_mut().push(Arc::new(SmallTable { table, scan, stages, rows: Arc::clone(rows) }));
        Ok(())
    }

    /// The scan of a small table, and what is done to its rows.
    fn small_side<'p>(self, plan: &'p LogicalPlan, name: &str) -> Result<(&'p TableScan, Vec<Stage>)> {
        let mut bottom = plan;
        loop {
            bottom = match bottom {
                LogicalPlan::TableScan(scan) => return Ok((scan, self.stages(plan)?)),
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Join(_) => {
                    return refuse_at(
                        &["JOIN"],
                        "small tables are joined with the stream one after the other: FROM stream JOIN a ON … JOIN b ON …",
                    );
                }
                LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
                    return refuse_at(
                        &["GROUP BY", "DISTINCT", "(SELECT"],
                        format!(
                            "the rows of the small table \"{name}\" are joined with as they are, filtered and computed with, but not \
                             aggregated; that works after the window, in a query over closed windows"
                        ),
                    );
                }
                other => return not_row_wise(other),
            };
        }
    }
}

/// The small tables that a query has come by.
pub(super) type Noted = RefCell<Vec<Arc<SmallTable>>>;

/// Refuses the current rows of a table as the stream of such a join, and of what else makes several rows of one.
pub(super) fn refuse_current<T>(stages: &[Stage], table: &Table) -> Result<Option<T>> {
    if stages.iter().any(|stage| matches!(stage, Stage::Unnest(_))) {
        return refuse_at(
            &["UNNEST"],
            format!(
                "UNNEST is not for the current rows of a table, here \"{0}\", which have one row for each key; read its change events: \
                 CHANGES({0})",
                table.name
            ),
        );
    }
    let Some(lookup) = stages.iter().find_map(|stage| match stage {
        Stage::Lookup(lookup) => Some(lookup),
        _ => None,
    }) else {
        return Ok(None);
    };
    refuse(format!(
        "the current rows of \"{0}\" cannot be joined with the small table \"{1}\": what is taken back would have to be joined with what \
         was there before; read the change events: CHANGES({0})",
        table.name, lookup.table.name
    ))
}

/// The rows of a small table in the plan over closed windows.
#[derive(Debug)]
struct SmallScan {
    rows: Arc<SmallRows>,
}

#[async_trait]
impl TableProvider for SmallScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.rows.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let rows = vec![self.rows.rows()];
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}
