//! Where the columns of a plan come from.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::JoinType;
use datafusion::datasource::DefaultTableSource;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Unnest};

use super::closing::{ClosedInput, ClosedRows};
use super::lookup::sides;
use super::pipeline::ResultColumn;

/// Which window column an expression over `input` is, if it is nothing but one.
pub(super) fn window_column(expression: &Expr, input: &LogicalPlan, width: usize) -> Option<usize> {
    let Expr::Column(column) = unaliased(expression) else { return None };
    let (bottom, at) = trace(input, input.schema().maybe_index_of_column(column)?)?;
    (matches!(bottom, LogicalPlan::Extension(_)) && at >= width).then(|| at - width)
}

/// Follows an output column down through renamings to the node that is not a filter or projection.
pub(super) fn trace(plan: &LogicalPlan, column: usize) -> Option<(&LogicalPlan, usize)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input, column),
        LogicalPlan::Filter(filter) => trace(&filter.input, column),
        LogicalPlan::Projection(projection) => trace(&projection.input, passed_on(projection.expr.get(column)?, plan)?),
        LogicalPlan::Unnest(unnest) => match passed_by(unnest, column) {
            Some(at) => trace(&unnest.input, at),
            None => Some((plan, column)),
        },
        LogicalPlan::Join(join) => match sides(join) {
            Some(sides) => match sides.of_stream(column) {
                Some(at) => trace(sides.stream, at),
                None => Some((plan, column)),
            },
            None => Some((plan, column)),
        },
        bottom => (column < bottom.schema().fields().len()).then_some((bottom, column)),
    }
}

/// The column of the rows with arrays that a column of UNNEST is, if it is no item.
pub(super) fn passed_by(unnest: &Unnest, column: usize) -> Option<usize> {
    let at = *unnest.dependency_indices.get(column)?;
    let is_item =
        unnest.list_type_columns.iter().any(|(list, _)| *list == at) || unnest.struct_type_columns.contains(&at);
    (!is_item).then_some(at)
}

/// The column of a projection's input that an expression of it is.
fn passed_on(expression: &Expr, projection: &LogicalPlan) -> Option<usize> {
    match unaliased(expression) {
        Expr::Column(inner) => projection.inputs().first()?.schema().maybe_index_of_column(inner),
        _ => None,
    }
}

/// The column of a projection's input that has the same instants as an expression of it, in whatever precision.
pub(super) fn same_instants(expression: &Expr, projection: &LogicalPlan) -> Option<usize> {
    match unaliased(expression) {
        Expr::Cast(cast) => {
            let at = same_instants(&cast.expr, projection)?;
            let from = projection.inputs().first()?.schema().field(at).data_type().clone();
            let zone = |data_type: &DataType| match data_type {
                DataType::Timestamp(_, zone) => Some(zone.as_deref().map(str::to_owned)),
                _ => None,
            };
            // Without a zone, times are UTC.
            let is_utc = |zone: Option<String>| zone.is_none_or(|zone| zone == "UTC" || zone == "+00:00");
            let (from, to) = (zone(&from)?, zone(cast.field.data_type())?);
            (from == to || (is_utc(from) && is_utc(to))).then_some(at)
        }
        other => passed_on(other, projection),
    }
}

/// The expression without its names.
pub(in crate::sql) fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// Which input of a closing plan a scan stands for.
pub(super) fn closed_input(scan: &TableScan) -> Option<usize> {
    let source = scan.source.as_ref() as &dyn std::any::Any;
    let provider = source.downcast_ref::<DefaultTableSource>()?.table_provider.as_ref() as &dyn std::any::Any;
    provider.downcast_ref::<ClosedRows>().map(ClosedRows::number)
}

/// A column that is one of the window's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// Which of [`WINDOW_COLUMNS`](crate::window::aggregate::WINDOW_COLUMNS).
    pub(super) bound: usize,
    /// Whether it may be null, as an outer join has it.
    pub(super) nullable: bool,
    /// The inputs whose it may be.
    inputs: BTreeSet<usize>,
}

/// Where the columns of a plan over closed windows come from.
pub(in crate::sql) struct Origins<'a>(pub(in crate::sql) &'a [ClosedInput]);

impl Origins<'_> {
    /// Which of the window's columns an output column is, through whatever lies between.
    pub(super) fn bound(&self, plan: &LogicalPlan, column: usize) -> Option<Bound> {
        let first = || plan.inputs().first().copied();
        match plan {
            LogicalPlan::TableScan(scan) => {
                let number = closed_input(scan)?;
                match self.input(number)?.columns.get(column) {
                    Some(ResultColumn::Window(bound)) => {
                        Some(Bound { bound: *bound, nullable: false, inputs: BTreeSet::from([number]) })
                    }
                    _ => None,
                }
            }
            LogicalPlan::Aggregate(it) => match it.group_expr.as_slice() {
                // What a set leaves out is null.
                [Expr::GroupingSet(_)] => None,
                keys => self.bound_of(&it.input, keys.get(column)?),
            },
            LogicalPlan::Projection(it) => self.bound_of(&it.input, it.expr.get(column)?),
            LogicalPlan::Unnest(it) => self.bound(&it.input, passed_by(it, column)?),
            LogicalPlan::Window(it) if column < it.input.schema().fields().len() => self.bound(&it.input, column),
            LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_) => self.bound(first()?, column),
            LogicalPlan::Union(it) => {
                let mut bounds = it.inputs.iter().map(|input| self.bound(input, column));
                let first = bounds.next()??;
                bounds.try_fold(first, |one, other| {
                    let other = other?;
                    (one.bound == other.bound).then(|| Bound {
                        bound: one.bound,
                        nullable: one.nullable || other.nullable,
                        inputs: &one.inputs | &other.inputs,
                    })
                })
            }
            LogicalPlan::Join(it) => {
                let left = match it.join_type {
                    JoinType::RightSemi | JoinType::RightAnti => 0,
                    _ => it.left.schema().fields().len(),
                };
                let (side, column, is_left) = match column < left {
                    true => (&it.left, column, true),
                    false => (&it.right, column - left, false),
                };
                let outer = match it.join_type {
                    JoinType::Full => true,
                    JoinType::Left => !is_left,
                    JoinType::Right => is_left,
                    _ => false,
                };
                let bound = self.bound(side, column)?;
                Some(Bound { nullable: bound.nullable || outer, ..bound })
            }
            _ => None,
        }
    }

    /// The same of an expression over a plan's rows. Of an outer join it may be `coalesce` of both sides' columns.
    pub(super) fn bound_of(&self, plan: &LogicalPlan, expression: &Expr) -> Option<Bound> {
        match unaliased(expression) {
            Expr::Column(column) => self.bound(plan, plan.schema().maybe_index_of_column(column)?),
            Expr::ScalarFunction(function) if function.name() == "get_field" => {
                let [of, Expr::Literal(name, _)] = function.args.as_slice() else { return None };
                self.part(plan, of, name.try_as_str()??)
            }
            other => {
                let alternatives = coalesced(other)?;
                let mut bounds = alternatives.into_iter().map(|it| self.bound_of(plan, it));
                let first = bounds.next()??;
                let all = bounds.try_fold(first, |one, other| {
                    let other = other?;
                    (one.bound == other.bound).then(|| Bound {
                        bound: one.bound,
                        nullable: one.nullable && other.nullable,
                        inputs: &one.inputs | &other.inputs,
                    })
                })?;
                // Each row is of one input at least.
                Some(Bound { nullable: all.nullable && all.inputs != inputs_below(plan), ..all })
            }
        }
    }

    /// The window's columns that an expression over a plan's rows has: of the window as a struct, as in Spark, both.
    pub(in crate::sql) fn bounds_of(&self, plan: &LogicalPlan, expression: &Expr) -> Vec<usize> {
        match self.bound_of(plan, expression) {
            Some(bound) => vec![bound.bound],
            None => ["start", "end"].iter().filter_map(|name| Some(self.part(plan, expression, name)?.bound)).collect(),
        }
    }

    /// The same of a field of an expression that is a struct.
    fn part(&self, plan: &LogicalPlan, expression: &Expr, name: &str) -> Option<Bound> {
        match unaliased(expression) {
            Expr::Column(column) => self.part_of_column(plan, plan.schema().maybe_index_of_column(column)?, name),
            Expr::ScalarFunction(function) if function.name() == "named_struct" => {
                let is_named =
                    |it: &&[Expr]| matches!(&it[0], Expr::Literal(own, _) if own.try_as_str() == Some(Some(name)));
                self.bound_of(plan, function.args.chunks_exact(2).find(is_named)?.get(1)?)
            }
            _ => None,
        }
    }

    fn part_of_column(&self, plan: &LogicalPlan, column: usize, name: &str) -> Option<Bound> {
        match plan {
            LogicalPlan::Projection(it) => self.part(&it.input, it.expr.get(column)?, name),
            LogicalPlan::Aggregate(it) => match it.group_expr.as_slice() {
                [Expr::GroupingSet(_)] => None,
                keys => self.part(&it.input, keys.get(column)?, name),
            },
            LogicalPlan::Window(it) if column < it.input.schema().fields().len() => {
                self.part_of_column(&it.input, column, name)
            }
            LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_) => self.part_of_column(plan.inputs().first()?, column, name),
            LogicalPlan::Join(it) if it.join_type == JoinType::Inner => {
                let left = it.left.schema().fields().len();
                match column < left {
                    true => self.part_of_column(&it.left, column, name),
                    false => self.part_of_column(&it.right, column - left, name),
                }
            }
            _ => None,
        }
    }

    /// Whether an output column is a bound of the window or a group key, under whatever name.
    pub(super) fn is_key(&self, plan: &LogicalPlan, column: usize) -> bool {
        let is_key = |input: &LogicalPlan, expression: Option<&Expr>| match expression.map(unaliased) {
            Some(Expr::Column(inner)) => {
                input.schema().maybe_index_of_column(inner).is_some_and(|at| self.is_key(input, at))
            }
            _ => false,
        };
        if self.bound(plan, column).is_some() {
            return true;
        }
        match plan {
            LogicalPlan::TableScan(scan) => closed_input(scan)
                .and_then(|number| self.input(number))
                .is_some_and(|it| !it.collected && matches!(it.columns.get(column), Some(ResultColumn::Key(_)))),
            LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_) => plan.inputs().first().is_some_and(|input| self.is_key(input, column)),
            LogicalPlan::Projection(it) => is_key(&it.input, it.expr.get(column)),
            LogicalPlan::Window(it) => column < it.input.schema().fields().len() && self.is_key(&it.input, column),
            LogicalPlan::Aggregate(it) => {
                let sets = matches!(it.group_expr.as_slice(), [Expr::GroupingSet(_)]);
                let keys = it.schema.fields().len() - it.aggr_expr.len() - usize::from(sets);
                column < keys
            }
            _ => false,
        }
    }

    fn input(&self, number: usize) -> Option<&ClosedInput> {
        self.0.iter().find(|input| input.rows.number() == number)
    }
}

/// The arguments of `coalesce`, also as DataFusion simplifies it: `CASE WHEN a IS NOT NULL THEN a ELSE b END`.
fn coalesced(expression: &Expr) -> Option<Vec<&Expr>> {
    match expression {
        Expr::ScalarFunction(function) if function.name() == "coalesce" => Some(function.args.iter().collect()),
        Expr::Case(case) if case.expr.is_none() => {
            let is_there =
                |(when, then): &(Box<Expr>, Box<Expr>)| matches!(when.as_ref(), Expr::IsNotNull(it) if it == then);
            let all = case.when_then_expr.iter().all(is_there).then_some(&case.when_then_expr)?;
            Some(all.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref()).collect())
        }
        _ => None,
    }
}

/// The inputs whose rows a plan over closed windows has.
pub(in crate::sql) fn inputs_below(plan: &LogicalPlan) -> BTreeSet<usize> {
    match plan {
        LogicalPlan::TableScan(scan) => closed_input(scan).into_iter().collect(),
        other => other.inputs().into_iter().flat_map(inputs_below).collect(),
    }
}
