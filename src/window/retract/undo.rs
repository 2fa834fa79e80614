//! Which aggregates can be undone by counting, and which need their values.

use std::sync::Arc;

use datafusion::arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, Fields, Int64Type, Schema,
    UInt64Type,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::CastExpr;

use super::Tally;
use super::tally::{Counts, Finish, Sums};
use super::values::Values;
use crate::error::{Error, Result};

/// How a row is taken back out of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// It is a count.
    Count,
    /// It is subtracted, which is exact in integers and decimals; the sum is of this type.
    Sum(DataType),
    /// As a sum of this type, and a count.
    Average(DataType),
    /// By all values that there are, each with how often: anything follows from them. `once`: how often does not matter.
    Values {
        /// Whether equal values count once.
        once: bool,
        /// Whether rows with a null among the arguments say nothing.
        skips_null: bool,
    },
}

/// How one aggregate of a query is kept.
#[derive(Debug, Clone)]
pub struct UndoPlan {
    aggregate: Arc<AggregateFunctionExpr>,
    undo: Undo,
    arguments: Vec<DataType>,
}

/// Those to which equal values say nothing new.
const ONCE: [&str; 8] = ["min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "approx_distinct", "any_value"];
/// Those that pass over rows with nulls, when they have one argument.
const SKIP_NULLS: [&str; 13] = [
    "min",
    "max",
    "count",
    "sum",
    "avg",
    "median",
    "approx_distinct",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "stddev",
    "var",
];

impl UndoPlan {
    /// How an aggregate is undone that reads these columns of rows: its arguments and those that it orders by. An average of
    /// integers, which DataFusion computes of floats, is given the integers: sums of them are exact.
    pub fn new(
        aggregate: &Arc<AggregateFunctionExpr>,
        arguments: &mut [Arc<dyn PhysicalExpr>],
        schema: &Schema,
    ) -> Result<Self> {
        let name = aggregate.fun().name();
        let plain = !aggregate.is_distinct() && aggregate.order_bys().is_empty();
        let result = aggregate.field().data_type().clone();
        let undo = match (name, &result) {
            ("count", _) if plain => Undo::Count,
            ("sum", DataType::Int64 | DataType::UInt64) if plain => Undo::Sum(result),
            ("sum" | "avg", it) if plain && it.is_decimal() && name == "sum" => Undo::Sum(result),
            ("avg", it) if plain && it.is_decimal() => match aggregate.state_fields()?.get(1) {
                Some(field) => Undo::Average(field.data_type().clone()),
                None => return Err(Error::internal("avg has no sum")),
            },
            ("avg", DataType::Float64) if plain => match integer_below(arguments, schema)? {
                Some(integer) => {
                    arguments[0] = integer;
                    Undo::Average(DataType::Decimal128(38, 0))
                }
                None => Self::values(aggregate),
            },
            _ => Self::values(aggregate),
        };
        let arguments = arguments.iter().map(|argument| argument.data_type(schema));
        let arguments = arguments.collect::<std::result::Result<_, _>>()?;
        Ok(Self { aggregate: Arc::clone(aggregate), undo, arguments })
    }

    fn values(aggregate: &AggregateFunctionExpr) -> Undo {
        let name = aggregate.fun().name();
        let is_alone = aggregate.expressions().len() == 1 && aggregate.order_bys().is_empty();
        Undo::Values {
            once: is_alone && (aggregate.is_distinct() || ONCE.contains(&name)),
            skips_null: is_alone && SKIP_NULLS.contains(&name),
        }
    }

    /// How rows are taken back.
    pub fn undo(&self) -> &Undo {
        &self.undo
    }

    /// The columns of its state.
    pub(in crate::window) fn state_fields(&self, number: usize) -> Vec<Field> {
        let field = |part: usize, data_type: DataType| Field::new(format!("state{number}_{part}"), data_type, true);
        match &self.undo {
            Undo::Count => vec![field(0, DataType::Int64)],
            Undo::Sum(sum) | Undo::Average(sum) => vec![field(0, DataType::Int64), field(1, sum.clone())],
            Undo::Values { .. } => vec![field(0, values_type(&self.arguments))],
        }
    }

    pub(super) fn tally(&self) -> Result<Box<dyn Tally>> {
        let (sum, finish) = match &self.undo {
            Undo::Count => return Ok(Box::new(Counts::default())),
            Undo::Values { once, skips_null } => {
                return Ok(Box::new(Values::new(&self.aggregate, &self.arguments, *once, *skips_null)?));
            }
            Undo::Sum(sum) => (sum, Finish::Sum),
            Undo::Average(sum) => (sum, Finish::Average(Arc::clone(&self.aggregate))),
        };
        Ok(match sum {
            DataType::Int64 => Box::new(Sums::<Int64Type>::new(sum, finish)),
            DataType::UInt64 => Box::new(Sums::<UInt64Type>::new(sum, finish)),
            DataType::Decimal32(..) => Box::new(Sums::<Decimal32Type>::new(sum, finish)),
            DataType::Decimal64(..) => Box::new(Sums::<Decimal64Type>::new(sum, finish)),
            DataType::Decimal128(..) => Box::new(Sums::<Decimal128Type>::new(sum, finish)),
            DataType::Decimal256(..) => Box::new(Sums::<Decimal256Type>::new(sum, finish)),
            other => return Err(Error::internal(format!("a sum of {other} cannot be undone"))),
        })
    }

    /// How it is undone and what that costs, in words.
    pub fn describe(&self) -> String {
        let name = self.aggregate.name();
        match &self.undo {
            Undo::Count => format!("{name}: a row taken back is counted off; 8 bytes per group"),
            Undo::Sum(_) => format!("{name}: a row taken back is subtracted, exactly; a sum and a count per group"),
            Undo::Average(_) => {
                format!("{name}: a row taken back is subtracted, exactly; a sum and a count per group")
            }
            Undo::Values { .. } => format!(
                "{name}: cannot be undone, so each group keeps its values, each once with how often it is there: \
                 state grows with the number of different values"
            ),
        }
    }
}

/// The type of values with how often each is there.
pub(super) fn values_type(arguments: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(value_fields(arguments)), false)))
}

pub(super) fn value_fields(arguments: &[DataType]) -> Fields {
    let times = Field::new("times", DataType::Int64, false);
    let value = |(number, data_type): (usize, &DataType)| Field::new(format!("value{number}"), data_type.clone(), true);
    std::iter::once(times).chain(arguments.iter().enumerate().map(value)).collect::<Vec<_>>().into()
}

/// The integer that an average is of, below the cast to a float that DataFusion has put around it.
fn integer_below(arguments: &[Arc<dyn PhysicalExpr>], schema: &Schema) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let [argument] = arguments else { return Ok(None) };
    let Some(cast) = argument.downcast_ref::<CastExpr>() else { return Ok(None) };
    let inner = cast.expr();
    Ok(inner.data_type(schema)?.is_integer().then(|| Arc::clone(inner)))
}
