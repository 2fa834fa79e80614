//! What a windowed query does with the groups of closed windows: HAVING, projection, top N, any SQL.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};

use super::pipeline::{ClosedWindow, ResultColumn};
use crate::error::{Error, Result};
use crate::window::assigner::Tumbling;

/// The rest of a windowed query: an ordinary DataFusion plan over the rows of closed windows.
pub struct Closing {
    plan: LogicalPlan,
    closed: Arc<ClosedRows>,
    columns: Vec<ResultColumn>,
    windows: Tumbling,
    /// Whether the plan looks at several rows at once (ORDER BY, LIMIT, …): then each window goes through it alone.
    one_at_a_time: bool,
    state: SessionState,
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan.display_indent())
    }
}

/// What became of the groups of closed windows.
#[derive(Debug, Default)]
pub struct Finished {
    /// The query's results.
    pub rows: Vec<RecordBatch>,
    /// Groups on which an expression failed, as the aggregation gave them, and why.
    pub failed: Vec<(RecordBatch, String)>,
}

/// The table that stands for the rows of closed windows in the plan.
#[derive(Debug)]
pub struct ClosedRows {
    schema: SchemaRef,
    rows: Mutex<Option<RecordBatch>>,
}

impl ClosedRows {
    /// No rows yet.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, rows: Mutex::new(None) }
    }
}

#[async_trait]
impl TableProvider for ClosedRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let rows = self.rows.lock().map(|rows| rows.clone()).unwrap_or_default();
        let partition = rows.into_iter().collect();
        Ok(MemorySourceConfig::try_new_exec(&[partition], Arc::clone(&self.schema), projection.cloned())?)
    }
}

impl Closing {
    /// The plan over `closed`, whose columns come from these places.
    pub fn new(
        plan: LogicalPlan,
        closed: Arc<ClosedRows>,
        columns: Vec<ResultColumn>,
        windows: Tumbling,
        state: SessionState,
    ) -> Self {
        let one_at_a_time = looks_across_rows(&plan);
        Self { plan, closed, columns, windows, one_at_a_time, state }
    }

    /// The plan, for `explain`.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// The results of windows that close together, windows in the order of their starts, groups in the order of their
    /// keys (unless the query orders them): the same rows in the same order whatever the lanes did. Groups (of a query
    /// that looks across rows: windows) on which an expression fails are left out alone.
    pub async fn finish(&self, windows: &[ClosedWindow]) -> Result<Finished> {
        let rows = windows.iter().map(|window| self.rows(window)).collect::<Result<Vec<_>>>()?;
        let mut finished = Finished::default();
        let mut waiting = match self.one_at_a_time {
            true => rows,
            false if rows.is_empty() => Vec::new(),
            false => vec![concat_batches(&self.closed.schema, &rows)?],
        };
        waiting.reverse();
        while let Some(rows) = waiting.pop() {
            let (length, half) = (rows.num_rows(), rows.num_rows() / 2);
            match self.run(rows.clone()).await {
                Ok(results) => finished.rows.extend(results.into_iter().filter(|batch| batch.num_rows() > 0)),
                Err(Error::Expression(message)) if self.one_at_a_time || length == 1 => {
                    finished.failed.push((rows, message))
                }
                Err(Error::Expression(_)) => waiting.extend([rows.slice(half, length - half), rows.slice(0, half)]),
                Err(error) => return Err(error),
            }
        }
        Ok(finished)
    }

    /// The start of the window that a row of closed windows belongs to, milliseconds since the epoch.
    pub fn window_start(&self, rows: &RecordBatch) -> i64 {
        use datafusion::arrow::array::cast::AsArray;
        use datafusion::arrow::datatypes::TimestampMillisecondType;
        let window = self.columns.iter().enumerate().find_map(|(place, column)| match column {
            ResultColumn::Window(bound) => Some((place, [0, self.windows.size, self.windows.size - 1][*bound])),
            _ => None,
        });
        let start = |(place, after): (usize, i64)| {
            let times = rows.column(place).as_primitive_opt::<TimestampMillisecondType>()?;
            (!times.is_empty()).then(|| times.value(0) - after)
        };
        window.and_then(start).unwrap_or_default()
    }

    async fn run(&self, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let poisoned = |_| Error::internal("the rows of closed windows are locked for ever");
        *self.closed.rows.lock().map_err(poisoned)? = Some(rows);
        let plan = self.state.query_planner().create_physical_plan(&self.plan, &self.state).await?;
        collect(plan, self.state.task_ctx()).await.map_err(Error::expression)
    }

    /// The aggregation's result for one window, sorted by key.
    fn rows(&self, window: &ClosedWindow) -> Result<RecordBatch> {
        let groups = sorted_by_key(&window.groups, self.key_count())?;
        let end = self.windows.end_of(window.start);
        let bounds = [window.start, end, end - 1];
        let column = |(place, column): (usize, &ResultColumn)| -> Result<ArrayRef> {
            let data_type = self.closed.schema.field(place).data_type();
            let array: ArrayRef = match *column {
                ResultColumn::Window(bound) => {
                    Arc::new(TimestampMillisecondArray::from(vec![bounds[bound]; groups.num_rows()]))
                }
                ResultColumn::Key(key) => Arc::clone(groups.column(key)),
                ResultColumn::Value(value) => Arc::clone(groups.column(self.key_count() + value)),
            };
            Ok(if array.data_type() == data_type { array } else { cast(&array, data_type)? })
        };
        let columns = self.columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.closed.schema), columns)?)
    }

    fn key_count(&self) -> usize {
        self.columns.iter().filter(|column| matches!(column, ResultColumn::Key(_))).count()
    }
}

fn sorted_by_key(groups: &RecordBatch, keys: usize) -> Result<RecordBatch> {
    if keys == 0 || groups.num_rows() < 2 {
        return Ok(groups.clone());
    }
    let columns = &groups.columns()[..keys];
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut order: Vec<u32> = (0..groups.num_rows() as u32).collect();
    order.sort_unstable_by_key(|&row| rows.row(row as usize));
    Ok(take_record_batch(groups, &UInt32Array::from(order))?)
}

fn looks_across_rows(plan: &LogicalPlan) -> bool {
    let row_by_row = matches!(
        plan,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_)
    );
    !row_by_row || plan.inputs().into_iter().any(looks_across_rows)
}
