//! What a format's values mean where neither JSON nor CSV says so: the settings of the connector that wrote them.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use super::column::Binaries;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::type_name::{UNIT, sql_name_of};

/// What a format's texts and integers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dialect {
    /// What a string in a decimal column is.
    pub(crate) decimals: Decimals,
    /// What a string in a column of bytes is.
    pub(crate) binaries: Binaries,
    /// The units of integers in columns of times.
    pub(crate) times: Times,
    /// Whether everything is text, so that an integer in it stands for a number, as in CSV.
    pub(crate) untyped: bool,
    /// Whether objects are columns of text alone, as in Avro.
    pub(crate) flat: bool,
    /// Whether Debezium's own forms occur: what stands for a value that did not change, decimals with their scale beside
    /// them.
    pub(crate) debezium: bool,
}

/// What a string in a decimal column is. Debezium's `decimal.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Decimals {
    /// A number in decimal notation.
    #[default]
    Text,
    /// Base64 of the unscaled value in big-endian two's complement; a number where it cannot be base64.
    Base64,
    /// Either. A whole number could be both: where the column has a scale it is base64 (Debezium writes all
    /// fraction digits of a number), where it has none it is refused.
    Either,
}

/// The units of integers in columns of times. Debezium's `time.precision.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Times {
    /// The column's own; milliseconds for whole seconds.
    #[default]
    Own,
    /// As `Adaptive`, but it was not said: of a `TIME` with up to three digits the connectors' defaults differ.
    Unsaid,
    /// By the declared precision: milliseconds up to three digits, microseconds up to six, nanoseconds up to nine.
    Adaptive,
    /// As `Adaptive`, but microseconds for all `TIME`s.
    AdaptiveMicros,
    /// Milliseconds for all.
    Connect,
    /// Microseconds for all.
    Micros,
    /// Nanoseconds for all.
    Nanos,
}

/// The options that this reads, for the format `debezium-json`.
pub(crate) const OPTIONS: [&str; 3] =
    ["debezium-json.decimal.handling.mode", "debezium-json.binary.handling.mode", "debezium-json.time.precision.mode"];

impl Dialect {
    /// What Debezium writes, by the options that repeat the connector's settings.
    pub(crate) fn debezium(options: &Options) -> Result<Self> {
        let [decimals, binaries, times] = OPTIONS.map(|name| (name, options.get(name)));
        let invalid = |name: &str, value: &str, modes: &str| {
            Err(options.invalid(name, value, &format!("what the connector has: {modes}")))
        };
        Ok(Self {
            decimals: match decimals {
                (_, None) => Decimals::Either,
                (_, Some("precise")) => Decimals::Base64,
                (_, Some("string" | "double")) => Decimals::Text,
                (name, Some(other)) => return invalid(name, other, "'precise', 'string' or 'double'"),
            },
            binaries: match binaries {
                (_, None | Some("bytes" | "base64")) => Binaries::Base64,
                (_, Some("base64-url-safe")) => Binaries::UrlSafe,
                (_, Some("hex")) => Binaries::Hex,
                (name, Some(other)) => {
                    return invalid(name, other, "'bytes', 'base64', 'base64-url-safe' or 'hex'");
                }
            },
            times: match times {
                (_, None) => Times::Unsaid,
                (_, Some("adaptive")) => Times::Adaptive,
                (_, Some("adaptive_time_microseconds")) => Times::AdaptiveMicros,
                (_, Some("connect")) => Times::Connect,
                // Texts say themselves what they are.
                (_, Some("microseconds" | "isostring")) => Times::Micros,
                (_, Some("nanoseconds")) => Times::Nanos,
                (name, Some(other)) => {
                    let modes = "'adaptive', 'adaptive_time_microseconds', 'microseconds', 'nanoseconds', 'isostring' \
                                 or 'connect'";
                    return invalid(name, other, modes);
                }
            },
            untyped: false,
            flat: false,
            debezium: true,
        })
    }

    /// The unit of integers in a column of times, which `unit` is the unit of.
    pub(crate) fn unit_of(&self, field: &Field, unit: TimeUnit) -> Result<TimeUnit> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        match field.metadata().get(UNIT).map(String::as_str) {
            Some("ms") => return Ok(Millisecond),
            Some("us") => return Ok(Microsecond),
            Some("ns") => return Ok(Nanosecond),
            _ => {}
        }
        let is_time = matches!(field.data_type(), DataType::Time64(_));
        let declared = sql_name_of(field);
        let is_short = is_time && ["TIME(0)", "TIME(1)", "TIME(2)", "TIME(3)"].contains(&declared.as_str());
        Ok(match self.times {
            Times::Own if unit == Second => Millisecond,
            Times::Own => unit,
            Times::Connect => Millisecond,
            Times::Micros => Microsecond,
            Times::Nanos => Nanosecond,
            Times::AdaptiveMicros if is_time => Microsecond,
            Times::Unsaid if is_short => {
                return Err(Error::config(format!(
                    "column \"{}\": integers for {declared} are milliseconds from PostgreSQL, but microseconds from MySQL \
                     and MariaDB; set '{}' to the connector's time.precision.mode: 'adaptive' (PostgreSQL's default) or \
                     'adaptive_time_microseconds' (MySQL's and MariaDB's), among others",
                    field.name(),
                    OPTIONS[2]
                )));
            }
            _ if is_short || matches!(unit, Second | Millisecond) => Millisecond,
            _ => unit,
        })
    }
}
