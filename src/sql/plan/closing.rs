//! What a windowed query does with the groups of closed windows: HAVING, projection, top N, any SQL.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, TimestampMillisecondArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};

use super::pipeline::{Bounds, ClosedWindow, ResultColumn};
use crate::error::{Error, Result};
use crate::window::assigner::Windows;

/// The rest of a windowed query: an ordinary DataFusion plan over the rows of closed windows.
pub struct Closing {
    plan: LogicalPlan,
    inputs: Vec<ClosedInput>,
    /// Whether the plan looks at several rows at once (ORDER BY, LIMIT, joins, …): then each window goes through it alone.
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
    /// Groups on which an expression failed, as the aggregation gave them: the start of their window, and why.
    pub failed: Vec<(i64, RecordBatch, String)>,
}

/// An input of a windowed query, as a plan over closed windows has it.
#[derive(Debug)]
pub struct ClosedInput {
    /// The table that stands for its rows.
    pub rows: Arc<ClosedRows>,
    /// Where the columns of that table come from.
    pub columns: Vec<ResultColumn>,
    /// Its windows.
    pub windows: Windows,
    /// Whether its rows are kept as they are: grouped by all columns, each as often as its count says.
    pub collected: bool,
}

/// The rows of a window, for each input that has some.
type Piece = Vec<(usize, RecordBatch)>;

/// The table that stands for the rows of closed windows in the plan.
#[derive(Debug)]
pub struct ClosedRows {
    number: usize,
    schema: SchemaRef,
    rows: Mutex<Vec<RecordBatch>>,
}

impl ClosedRows {
    /// No rows yet of the query's input of this number.
    pub fn new(number: usize, schema: SchemaRef) -> Self {
        Self { number, schema, rows: Mutex::default() }
    }

    /// Which input of the query.
    pub fn number(&self) -> usize {
        self.number
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
        let partition = self.rows.lock().map(|rows| rows.clone()).unwrap_or_default();
        Ok(MemorySourceConfig::try_new_exec(&[partition], Arc::clone(&self.schema), projection.cloned())?)
    }
}

impl Closing {
    /// The plan over the rows of these inputs.
    pub fn new(plan: LogicalPlan, inputs: Vec<ClosedInput>, state: SessionState) -> Self {
        let one_at_a_time = inputs.len() != 1 || looks_across_rows(&plan);
        Self { plan, inputs, one_at_a_time, state }
    }

    /// The plan, for `explain`.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Its inputs, by their numbers in the query.
    pub fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().map(|input| input.rows.number)
    }

    /// Whether the rows of an input are kept as they are until here.
    pub fn collects(&self, number: usize) -> bool {
        self.inputs.iter().any(|input| input.rows.number == number && input.collected)
    }

    /// The results of windows that close together, given for each input of the query; windows in the order of their starts, groups
    /// in the order of their keys (unless the query orders them): the same rows in the same order whatever the lanes did. Groups
    /// (of a query that looks across rows: windows) on which an expression fails are left out alone.
    pub async fn finish(&self, windows: &[Vec<ClosedWindow>]) -> Result<Finished> {
        let mut waiting: Vec<Piece> = match self.one_at_a_time {
            true => self.by_window(windows)?.into_values().collect(),
            false => self.together(windows)?,
        };
        waiting.reverse();
        let mut finished = Finished::default();
        while let Some(piece) = waiting.pop() {
            match (self.run(&piece).await, piece.as_slice()) {
                (Ok(results), _) => finished.rows.extend(results.into_iter().filter(|batch| batch.num_rows() > 0)),
                (Err(Error::Expression(_)), [(input, rows)]) if !self.one_at_a_time && rows.num_rows() > 1 => {
                    let (length, half) = (rows.num_rows(), rows.num_rows() / 2);
                    let halves = [rows.slice(half, length - half), rows.slice(0, half)];
                    waiting.extend(halves.map(|half| vec![(*input, half)]));
                }
                (Err(Error::Expression(message)), _) => {
                    let failed = piece.into_iter().filter(|(_, rows)| rows.num_rows() > 0);
                    let failed =
                        failed.map(|(input, rows)| (self.inputs[input].start_of(&rows), rows, message.clone()));
                    finished.failed.extend(failed);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(finished)
    }

    /// The rows of each window of any input.
    fn by_window(&self, windows: &[Vec<ClosedWindow>]) -> Result<BTreeMap<(i64, i64), Piece>> {
        let mut pieces: BTreeMap<(i64, i64), Piece> = BTreeMap::new();
        for (number, input) in self.inputs.iter().enumerate() {
            for window in input.closed(windows) {
                let (bounds, rows) = input.rows(window)?;
                match bounds {
                    Bounds::One(start, end) => pieces.entry((start, end)).or_default().push((number, rows)),
                    Bounds::Each(bounds) => {
                        let mut from = 0;
                        for same in bounds.chunk_by(|a, b| a == b) {
                            pieces.entry(same[0]).or_default().push((number, rows.slice(from, same.len())));
                            from += same.len();
                        }
                    }
                }
            }
        }
        Ok(pieces)
    }

    /// All rows of the only input.
    fn together(&self, windows: &[Vec<ClosedWindow>]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let rows =
                input.closed(windows).iter().map(|window| Ok(input.rows(window)?.1)).collect::<Result<Vec<_>>>()?;
            if !rows.is_empty() {
                pieces.push(vec![(number, concat_batches(&input.rows.schema, &rows)?)]);
            }
        }
        Ok(pieces)
    }

    async fn run(&self, piece: &Piece) -> Result<Vec<RecordBatch>> {
        let poisoned = |_| Error::internal("the rows of closed windows are locked for ever");
        for (number, input) in self.inputs.iter().enumerate() {
            let rows = piece.iter().filter(|(of, _)| *of == number).map(|(_, rows)| rows.clone()).collect();
            *input.rows.rows.lock().map_err(poisoned)? = rows;
        }
        let plan = self.state.query_planner().create_physical_plan(&self.plan, &self.state).await?;
        collect(plan, self.state.task_ctx()).await.map_err(Error::expression)
    }
}

impl ClosedInput {
    /// The closed windows of it.
    fn closed<'a>(&self, windows: &'a [Vec<ClosedWindow>]) -> &'a [ClosedWindow] {
        windows.get(self.rows.number).map_or(&[], Vec::as_slice)
    }

    /// The start of the window that a row of closed windows belongs to, milliseconds since the epoch; its end, where the rows
    /// have only that and it does not say the start.
    fn start_of(&self, rows: &RecordBatch) -> i64 {
        let place = |bound: usize| self.columns.iter().position(|column| *column == ResultColumn::Window(bound));
        let Some((bound, place)) = (0..3).find_map(|bound| Some((bound, place(bound)?))) else { return 0 };
        let times = rows.column(place).as_primitive_opt::<TimestampMillisecondType>().filter(|times| !times.is_empty());
        let Some(time) = times.map(|times| times.value(0)) else { return 0 };
        match (bound, self.windows) {
            (1, Windows::Tumble(grid)) => grid.previous(time),
            (2, Windows::Tumble(grid)) => grid.start_of(time),
            _ => time,
        }
    }

    /// The rows of a window or of several, sorted by window and key.
    fn rows(&self, window: &ClosedWindow) -> Result<(Bounds, RecordBatch)> {
        let keys = self.key_count();
        let (bounds, groups) = sorted(window, keys)?;
        let (bounds, groups) = if self.collected { repeated(bounds, &groups, keys)? } else { (bounds, groups) };
        let bound = |bound: usize| -> ArrayRef {
            let value = |(start, end): &(i64, i64)| [*start, *end, end.saturating_sub(1)][bound];
            Arc::new(match &bounds {
                Bounds::One(start, end) => {
                    TimestampMillisecondArray::from(vec![value(&(*start, *end)); groups.num_rows()])
                }
                Bounds::Each(bounds) => TimestampMillisecondArray::from_iter_values(bounds.iter().map(value)),
            })
        };
        let column = |(place, column): (usize, &ResultColumn)| -> Result<ArrayRef> {
            let data_type = self.rows.schema.field(place).data_type();
            let array: ArrayRef = match *column {
                ResultColumn::Window(number) => bound(number),
                ResultColumn::Key(key) => Arc::clone(groups.column(key)),
                ResultColumn::GroupingSet => Arc::clone(groups.column(keys)),
                ResultColumn::Value(value) => Arc::clone(groups.column(self.first_value() + value)),
            };
            Ok(if array.data_type() == data_type { array } else { cast(&array, data_type)? })
        };
        let columns = self.columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(groups.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.rows.schema), columns, &options)?;
        Ok((bounds, rows))
    }

    fn key_count(&self) -> usize {
        self.columns.iter().filter(|column| matches!(column, ResultColumn::Key(_))).count()
    }

    fn first_value(&self) -> usize {
        self.key_count() + usize::from(self.columns.contains(&ResultColumn::GroupingSet))
    }
}

/// Groups in the order of their windows, keys and grouping sets (which follow the keys).
fn sorted(window: &ClosedWindow, keys: usize) -> Result<(Bounds, RecordBatch)> {
    let groups = &window.groups;
    let mut columns: Vec<ArrayRef> = Vec::new();
    if let Bounds::Each(bounds) = &window.bounds {
        columns.push(Arc::new(Int64Array::from_iter_values(bounds.iter().map(|bound| bound.0))));
        columns.push(Arc::new(Int64Array::from_iter_values(bounds.iter().map(|bound| bound.1))));
    }
    columns.extend(groups.columns().iter().take(keys).cloned());
    if groups.num_rows() < 2 || columns.is_empty() {
        return Ok((window.bounds.clone(), groups.clone()));
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<u32> = (0..groups.num_rows() as u32).collect();
    // Groups of one key in several grouping sets stay in the order of the sets.
    order.sort_by_key(|&row| rows.row(row as usize));
    let bounds = match &window.bounds {
        Bounds::Each(bounds) => Bounds::Each(order.iter().map(|&row| bounds[row as usize]).collect()),
        one => one.clone(),
    };
    Ok((bounds, take_record_batch(groups, &UInt32Array::from(order))?))
}

/// Collected rows, each as often as its count, which follows the columns, says.
fn repeated(bounds: Bounds, groups: &RecordBatch, keys: usize) -> Result<(Bounds, RecordBatch)> {
    let counts = groups.column(keys).as_primitive_opt::<Int64Type>();
    let counts = counts.ok_or_else(|| Error::internal("collected rows without counts"))?.values();
    if counts.iter().all(|&count| count == 1) {
        return Ok((bounds, groups.clone()));
    }
    let times = |row: usize| usize::try_from(counts[row]).unwrap_or(0);
    let picked: Vec<u32> = (0..counts.len()).flat_map(|row| std::iter::repeat_n(row as u32, times(row))).collect();
    let bounds = match bounds {
        Bounds::Each(bounds) => Bounds::Each(picked.iter().map(|&row| bounds[row as usize]).collect()),
        one => one,
    };
    Ok((bounds, take_record_batch(groups, &UInt32Array::from(picked))?))
}

fn looks_across_rows(plan: &LogicalPlan) -> bool {
    let row_by_row = matches!(
        plan,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_)
    );
    !row_by_row || plan.inputs().into_iter().any(looks_across_rows)
}
