//! The groups of one window and their accumulators.
//!
//! ```text
//!  keys  ──intern──►  group number ──► accumulators: one column of state each, indexed by group number
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::retract::{SignedState, UndoPlan, hidden_fields};
use crate::error::{Error, Result};

/// What a window keeps: which keys, which aggregates, and how their state looks as columns.
#[derive(Debug)]
pub struct PaneLayout {
    keys: SchemaRef,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// How rows are taken back, where they are: one plan per aggregate.
    undo: Option<Vec<UndoPlan>>,
    state: SchemaRef,
    result: SchemaRef,
    state_widths: Vec<usize>,
}

impl PaneLayout {
    /// The layout for these group keys (besides the window) and aggregates; rows are only added.
    pub fn new(keys: SchemaRef, aggregates: Vec<Arc<AggregateFunctionExpr>>) -> Result<Self> {
        Self::laid_out(keys, aggregates, None)
    }

    /// The same where rows are also taken back.
    pub fn retracting(
        keys: SchemaRef,
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        undo: Vec<UndoPlan>,
    ) -> Result<Self> {
        Self::laid_out(keys, aggregates, Some(undo))
    }

    fn laid_out(
        keys: SchemaRef,
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        undo: Option<Vec<UndoPlan>>,
    ) -> Result<Self> {
        let mut state = numbered(&keys, "key");
        let mut result = state.clone();
        let mut state_widths = Vec::with_capacity(aggregates.len());
        state.extend(undo.iter().flat_map(|_| hidden_fields()));
        for (number, aggregate) in aggregates.iter().enumerate() {
            let fields = match undo.as_ref().map(|undo| &undo[number]) {
                Some(undo) => undo.state_fields(number),
                None => plain_state_fields(number, aggregate)?,
            };
            state_widths.push(fields.len());
            state.extend(fields);
            result.push(aggregate.field().as_ref().clone().with_name(format!("value{number}")).with_nullable(true));
        }
        let (state, result) = (Arc::new(Schema::new(state)), Arc::new(Schema::new(result)));
        Ok(Self { keys, aggregates, undo, state, result, state_widths })
    }

    /// The same with more keys before the others.
    pub fn with_leading_keys(&self, keys: Vec<Field>) -> Result<Self> {
        let keys = keys.into_iter().map(Arc::new).chain(self.keys.fields().iter().cloned());
        let keys = Arc::new(Schema::new(keys.collect::<Vec<_>>()));
        Self::laid_out(keys, self.aggregates.clone(), self.undo.clone())
    }

    /// How rows are taken back out of each aggregate; `None` where rows are only added.
    pub fn undo(&self) -> Option<&[UndoPlan]> {
        self.undo.as_deref()
    }

    /// The columns of a pane's state: keys, then each aggregate's partial state. What a checkpoint holds.
    pub fn state_schema(&self) -> &SchemaRef {
        &self.state
    }

    /// The columns of a pane's results: keys, then a value per aggregate.
    pub fn result_schema(&self) -> &SchemaRef {
        &self.result
    }

    /// Number of group keys besides the window.
    pub fn key_count(&self) -> usize {
        self.keys.fields().len()
    }

    /// The aggregates.
    pub fn aggregates(&self) -> &[Arc<AggregateFunctionExpr>] {
        &self.aggregates
    }
}

fn plain_state_fields(number: usize, aggregate: &AggregateFunctionExpr) -> Result<Vec<Field>> {
    let name = |(part, field): (usize, &Arc<Field>)| {
        field.as_ref().clone().with_name(format!("state{number}_{part}")).with_nullable(true)
    };
    Ok(aggregate.state_fields()?.iter().enumerate().map(name).collect())
}

fn numbered(schema: &Schema, prefix: &str) -> Vec<Field> {
    let rename = |(number, field): (usize, &Arc<Field>)| {
        field.as_ref().clone().with_name(format!("{prefix}{number}")).with_nullable(true)
    };
    schema.fields().iter().enumerate().map(rename).collect()
}

/// Evaluated inputs of a pane: a value per row.
#[derive(Debug, Clone)]
pub struct PaneInput {
    /// The group keys, in the layout's order.
    pub keys: Vec<ArrayRef>,
    /// The arguments of each aggregate.
    pub arguments: Vec<Vec<ArrayRef>>,
    /// `FILTER (WHERE …)` of each aggregate.
    pub filters: Vec<Option<BooleanArray>>,
    /// 1 for a row that comes, -1 for one that is taken back; without, all come.
    pub signs: Option<Vec<i8>>,
    /// Number of rows.
    pub rows: usize,
}

/// The state of one window.
pub struct Pane {
    layout: Arc<PaneLayout>,
    /// `None` when the window is the only key: then there is one group.
    groups: Option<Box<dyn GroupValues>>,
    state: PaneState,
    group_numbers: Vec<usize>,
    is_empty: bool,
}

enum PaneState {
    /// DataFusion's accumulators: rows are only added.
    Added(Vec<Box<dyn GroupsAccumulator>>),
    /// Rows come and go.
    Signed(SignedState),
}

impl Pane {
    /// A pane without groups.
    pub fn new(layout: &Arc<PaneLayout>) -> Result<Self> {
        let groups = match layout.key_count() {
            0 => None,
            _ => Some(new_group_values(Arc::clone(&layout.keys), &GroupOrdering::None)?),
        };
        let state = match &layout.undo {
            Some(undo) => PaneState::Signed(SignedState::new(undo)?),
            None => PaneState::Added(layout.aggregates.iter().map(accumulator).collect::<Result<_>>()?),
        };
        Ok(Self { layout: Arc::clone(layout), groups, state, group_numbers: Vec::new(), is_empty: true })
    }

    /// Number of groups.
    pub fn group_count(&self) -> usize {
        match &self.groups {
            Some(groups) => groups.len(),
            None => usize::from(!self.is_empty),
        }
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let state = match &self.state {
            PaneState::Added(accumulators) => accumulators.iter().map(|it| it.size()).sum(),
            PaneState::Signed(state) => state.size(),
        };
        self.groups.as_ref().map_or(0, |groups| groups.size()) + state
    }

    /// Adds rows, and takes rows back where the layout is for that.
    pub fn update(&mut self, input: &PaneInput) -> Result<()> {
        let total = self.number_groups(&input.keys, input.rows)?;
        let accumulators = match &mut self.state {
            PaneState::Added(accumulators) => accumulators,
            PaneState::Signed(state) => {
                let (arguments, filters, signs) = (&input.arguments, &input.filters, input.signs.as_deref());
                return state.update(arguments, filters, signs, &self.group_numbers, total);
            }
        };
        for (number, accumulator) in accumulators.iter_mut().enumerate() {
            let filter = input.filters[number].as_ref();
            accumulator.update_batch(&input.arguments[number], &self.group_numbers, filter, total)?;
        }
        Ok(())
    }

    /// Adds the state of another pane of the same window, as [`Self::take_state`] gives it.
    pub fn merge(&mut self, state: &RecordBatch) -> Result<()> {
        let keys = self.layout.key_count();
        let total = self.number_groups(&state.columns()[..keys], state.num_rows())?;
        let mut columns = &state.columns()[keys..];
        let accumulators = match &mut self.state {
            PaneState::Added(accumulators) => accumulators,
            PaneState::Signed(state) => {
                return state.merge(columns, &self.layout.state_widths, &self.group_numbers, total);
            }
        };
        for (accumulator, &width) in accumulators.iter_mut().zip(&self.layout.state_widths) {
            accumulator.merge_batch(&columns[..width], &self.group_numbers, total)?;
            columns = &columns[width..];
        }
        Ok(())
    }

    /// Takes the state out and leaves the pane without groups. Groups of which nothing is left are not in it.
    pub fn take_state(&mut self) -> Result<RecordBatch> {
        let mut rows = self.group_count();
        let mut columns = self.take_keys()?;
        match &mut self.state {
            PaneState::Added(accumulators) => {
                for accumulator in accumulators {
                    columns.extend(accumulator.state(EmitTo::All)?);
                }
            }
            PaneState::Signed(state) => {
                let touched = state.touched();
                columns = only(columns, &touched, rows)?;
                columns.extend(state.take_state(&touched)?);
                rows = touched.len();
            }
        }
        self.emptied(&self.layout.state.clone(), columns, rows)
    }

    /// Takes the groups out of which more rows were taken back than came, as their keys; and those without rows. To be
    /// asked when all rows of a window are together: then somebody took back what was never there.
    pub fn take_unmatched(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.group_count();
        let PaneState::Signed(state) = &mut self.state else { return Ok(None) };
        if state.is_settled() {
            return Ok(None);
        }
        let (present, unmatched) = (state.present(), state.unmatched());
        let settled = state.take_state(&present)?;
        let keys = self.take_keys()?;
        let unmatched_keys = only(keys.clone(), &unmatched, rows)?;
        let mut columns = only(keys, &present, rows)?;
        columns.extend(settled);
        let settled = self.emptied(&self.layout.state.clone(), columns, present.len())?;
        *self = Self::new(&self.layout)?;
        self.merge(&settled)?;
        if unmatched.is_empty() {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(unmatched.len()));
        let schema = Arc::new(Schema::new(numbered(&self.layout.keys, "key")));
        Ok(Some(RecordBatch::try_new_with_options(schema, unmatched_keys, &options)?))
    }

    /// The state that these groups, each once, have without any rows. `arguments` are the types of each aggregate's.
    pub fn empty_groups(
        layout: &Arc<PaneLayout>,
        keys: Vec<ArrayRef>,
        arguments: &[Vec<DataType>],
        rows: usize,
    ) -> Result<RecordBatch> {
        let nulls = |types: &Vec<DataType>| types.iter().map(|it| new_null_array(it, rows)).collect();
        // As if a filter had left out a row of each: accumulators know then that they have seen nothing.
        let none: BooleanArray = std::iter::repeat_n(Some(false), rows).collect();
        let filters = vec![Some(none); arguments.len()];
        let mut pane = Self::new(layout)?;
        let total = pane.number_groups(&keys, rows)?;
        if let PaneState::Signed(state) = &mut pane.state {
            state.fill(&pane.group_numbers, total);
            return pane.take_state();
        }
        let arguments = arguments.iter().map(nulls).collect();
        pane.update(&PaneInput { keys, arguments, filters, signs: None, rows })?;
        pane.take_state()
    }

    /// A copy of the state. DataFusion's accumulators give their state away, so it is taken out and merged back.
    pub fn copy_state(&mut self) -> Result<RecordBatch> {
        let state = self.take_state()?;
        *self = Self::new(&self.layout)?;
        self.merge(&state)?;
        Ok(state)
    }

    /// Takes the results out: keys and a value per aggregate, groups in no particular order; groups without rows have none.
    /// After an error (a sum or an average that overflows) the pane is of no more use.
    pub fn take_results(&mut self) -> Result<RecordBatch> {
        let mut rows = self.group_count();
        let mut columns = self.take_keys()?;
        match &mut self.state {
            PaneState::Added(accumulators) => {
                for accumulator in accumulators {
                    columns.push(accumulator.evaluate(EmitTo::All).map_err(Error::expression)?);
                }
            }
            PaneState::Signed(state) => {
                let present = state.present();
                columns = only(columns, &present, rows)?;
                columns.extend(state.evaluate(&present)?);
                rows = present.len();
            }
        }
        self.emptied(&self.layout.result.clone(), columns, rows)
    }

    fn take_keys(&mut self) -> Result<Vec<ArrayRef>> {
        Ok(match &mut self.groups {
            Some(groups) => groups.emit(EmitTo::All)?,
            None => Vec::new(),
        })
    }

    fn emptied(&mut self, schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        self.is_empty = true;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }

    /// Fills `group_numbers` for the rows and returns the number of groups.
    fn number_groups(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        self.is_empty &= rows == 0;
        self.group_numbers.clear();
        match &mut self.groups {
            Some(groups) => groups.intern(keys, &mut self.group_numbers)?,
            None => self.group_numbers.resize(rows, 0),
        }
        Ok(self.group_count())
    }
}

/// Some rows of columns, in ascending order.
fn only(columns: Vec<ArrayRef>, kept: &[u32], rows: usize) -> Result<Vec<ArrayRef>> {
    if kept.len() == rows {
        return Ok(columns);
    }
    let kept = UInt32Array::from(kept.to_vec());
    Ok(columns.iter().map(|column| take(column, &kept, None)).collect::<std::result::Result<_, _>>()?)
}

/// DataFusion's accumulator of an aggregate.
pub(super) fn accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return Ok(aggregate.create_groups_accumulator()?);
    }
    let aggregate = Arc::clone(aggregate);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}
