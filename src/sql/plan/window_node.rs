//! A window in a plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::window::aggregate::WINDOW_COLUMNS;
use crate::window::assigner::Windows;
use crate::window::calendar::{Grid, Span};
use crate::window::duplicates::Keep;

/// Adds the window columns to its input's rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// The rows.
    pub input: LogicalPlan,
    /// Their event time.
    pub time: Expr,
    /// The windows.
    pub windows: Windows,
    /// What sessions are of; of a deduplication, its key.
    pub partition_by: Vec<Expr>,
    /// A deduplication: which rows stay, and the time in milliseconds within which others of their key are duplicates. The windows are then the
    /// slices in which rows are gathered.
    pub duplicates: Option<(Keep, i64)>,
    schema: DFSchemaRef,
}

impl WindowNode {
    pub(super) fn try_new(input: LogicalPlan, time: Expr, windows: Windows, partition_by: Vec<Expr>) -> Result<Self> {
        let Expr::Column(column) = &time else { return plan_err!("the event time of a window is a column") };
        let zone = match input.schema().qualified_field_from_column(column)?.1.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let added = WINDOW_COLUMNS
            .map(|name| Arc::new(Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, zone.clone()), true)));
        let rows = input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let fields = rows.chain(added.map(|field| (None, field))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, time, windows, partition_by, duplicates: None, schema })
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.partition_by.iter().chain([&self.time]).cloned().collect()
    }

    /// Part of a job's fingerprint: a change makes its checkpoints another query's.
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((keep, within)) = self.duplicates {
            write!(f, "Deduplication: {keep:?} by {} within {within} ms", self.time)?;
            let keys: Vec<_> = self.partition_by.iter().map(|key| key.to_string()).collect();
            return write!(f, " of {}", keys.join(", "));
        }
        match self.windows {
            Windows::Tumble(Grid { every: Span::Fixed(size), offset, .. }) => {
                write!(f, "Window: {} by {size} ms, offset {offset} ms", self.time)?;
            }
            windows => write!(f, "Window: {} by {windows}", self.time)?,
        }
        let keys: Vec<_> = self.partition_by.iter().map(|key| key.to_string()).collect();
        if keys.is_empty() { Ok(()) } else { write!(f, " of {}", keys.join(", ")) }
    }

    fn with_exprs_and_inputs(&self, mut expressions: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (expressions.pop(), inputs.pop()) {
            (Some(time), Some(input)) => {
                let node = Self::try_new(input, time, self.windows, expressions)?;
                Ok(Self { duplicates: self.duplicates, ..node })
            }
            _ => Err(DataFusionError::Internal("a window has one input and a time".into())),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut needed: Vec<_> = output_columns.iter().copied().filter(|&column| column < width).collect();
        for expression in self.expressions() {
            for column in expression.column_refs() {
                needed.push(self.input.schema().maybe_index_of_column(column)?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// A node as a window.
pub(super) fn window_node(plan: &LogicalPlan) -> Option<&WindowNode> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref::<WindowNode>(),
        _ => None,
    }
}

/// Whether there is a window in a plan.
pub(super) fn has_windows(plan: &LogicalPlan) -> bool {
    window_node(plan).is_some() || plan.inputs().into_iter().any(has_windows)
}
