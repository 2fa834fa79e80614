//! The options of a `CREATE TABLE`: how Flink writes them, and spelling mistakes.

use std::collections::BTreeMap;

use super::catalog::Table;
use super::small_table::{CACHE, RELOAD};
use crate::connector::{CONNECTORS, known_options};
use crate::error::{Error, Place, Result, suggestion};
use crate::format::FORMATS;
use crate::options::Options;
use crate::sql::tokens::StatementReader;

impl StatementReader<'_> {
    /// Flink writes `'value.format'`, and the format's options after `value.`; here they are the same without.
    pub(super) fn plain_options(
        &self,
        options: &Options,
        mut places: BTreeMap<String, Place>,
    ) -> Result<(Options, BTreeMap<String, Place>)> {
        let mut values = BTreeMap::new();
        let format = options.get("value.format").or_else(|| options.get("format")).unwrap_or_default().to_owned();
        for (name, value) in options.all() {
            let place = places.get(name).cloned();
            let failed = |message: String| place.as_ref().map(|place| place.error(message));
            let plain = match name.strip_prefix("value.") {
                Some("fields-include") if value == "ALL" => continue,
                Some("fields-include") => {
                    let message =
                        "option 'value.fields-include' is 'ALL' here: all columns are read from the record's value";
                    return Err(failed(message.to_owned()).map_or_else(|| Error::config(message), Into::into));
                }
                Some(rest) if rest == "format" || rest.split('.').next() == Some(format.as_str()) => rest.to_owned(),
                _ => name.clone(),
            };
            if name.starts_with("key.") {
                let message = format!(
                    "option '{name}' is not supported: columns are read from the record's value; \
                     the key itself is a column that is declared STRING METADATA FROM 'key'"
                );
                return Err(failed(message.clone()).map_or_else(|| Error::config(message), Into::into));
            }
            if let Some(other) = values.insert(plain.clone(), value.clone())
                && other != *value
            {
                let message =
                    format!("options '{plain}' and 'value.{plain}' are the same, and are given different values");
                return Err(failed(message.clone()).map_or_else(|| Error::config(message), Into::into));
            }
            if let Some(place) = place {
                places.insert(plain, place);
            }
        }
        Ok((Options::new(options.table(), values), places))
    }
}

/// Options that no connector or format knows are spelling mistakes.
pub(super) fn check_options(table: &Table) -> Result<()> {
    let connectors = CONNECTORS.join(", ");
    let Some(connector) = table.options.get("connector") else {
        return Err(table
            .place
            .error(format!("table \"{}\" needs the option 'connector'; there are {connectors}", table.name))
            .into());
    };
    let place = |option: &str| table.option_places.get(option).unwrap_or(&table.place);
    let Some(known) = known_options(connector) else {
        let hint = suggestion(connector, CONNECTORS.iter().copied());
        let hint = if hint.is_empty() { format!("; there are {connectors}") } else { hint };
        return Err(place("connector").error(format!("connector '{connector}' is not known{hint}")).into());
    };
    if let Some(format) = table.options.get("format") {
        let formats: Vec<_> =
            FORMATS.iter().copied().chain(["parquet"].into_iter().filter(|_| connector == "filesystem")).collect();
        if !formats.contains(&format) {
            let not_yet = matches!(format, "protobuf" | "raw");
            let hint = if not_yet { String::new() } else { suggestion(format, formats.iter().copied()) };
            let hint =
                if hint.is_empty() { format!("; connector '{connector}' has {}", formats.join(", ")) } else { hint };
            let trouble = if not_yet { "is not supported yet" } else { "is not known" };
            return Err(place("format").error(format!("format '{format}' {trouble}{hint}")).into());
        }
    }
    for name in table.options.names() {
        if !known.iter().any(|it| it == &name || it.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))) {
            let near = suggestion(name, known.iter().copied());
            let hint = if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near };
            return Err(place(name)
                .error(format!("option '{name}' is not known to connector '{connector}'{hint}"))
                .into());
        }
    }
    let failed = |error: Error| {
        let option = [RELOAD, CACHE].into_iter().find(|name| error.to_string().contains(&format!("'{name}'")));
        place(option.unwrap_or(CACHE)).error(error.to_string())
    };
    table.check_small().map_err(|error| failed(error).into())
}
