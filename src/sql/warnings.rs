//! What to know of a query before it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::define::catalog::Table;
use super::define::metadata::MetadataOf;
use super::plan::pipeline::{Feed, Pipeline};
use super::plan::relation::Reading;
use crate::connector::SNAPSHOT;
use crate::options::Options;

/// The warnings of a query, each once.
pub(super) fn warnings(pipelines: &[Arc<Pipeline>]) -> Vec<String> {
    let mut warnings = BTreeSet::new();
    for pipeline in pipelines {
        for Feed { table, reading, .. } in &pipeline.feeds {
            if *reading == Reading::Table && begins_late(&table.options) {
                warnings.insert(format!(
                    "table \"{}\" is read as its current rows but not from the beginning of its topic, so older rows are missing; \
                     set 'scan.startup.mode' = 'earliest-offset'",
                    table.name
                ));
            }
            if pipeline.windowed().is_some() {
                warnings.extend(snapshot_in_a_minute(table));
            }
        }
    }
    warnings.into_iter().collect()
}

/// Whether reading may begin elsewhere than at the beginning of a topic.
fn begins_late(options: &Options) -> bool {
    let group = options.get("properties.group.id").is_some();
    match options.get("scan.startup.mode") {
        Some("latest-offset" | "timestamp" | "group-offsets") => true,
        None => group && options.get("properties.auto.offset.reset") == Some("latest"),
        Some(_) => false,
    }
}

/// A snapshot has years of rows, read within minutes: their event time must be of the rows.
fn snapshot_in_a_minute(table: &Table) -> Option<String> {
    let column = &table.watermark.as_ref()?.column;
    let metadata = table.metadata.get(column)?;
    let is_of_event = match &metadata.of {
        MetadataOf::SourceTime | MetadataOf::Timestamp => true,
        MetadataOf::Envelope { path, .. } => path == "ts_ms" || path == "ts",
        _ => false,
    };
    (is_of_event && table.has_changes() && table.options.get(SNAPSHOT).is_none()).then(|| {
        format!(
            "table \"{}\": its event time \"{column}\" is METADATA '{}', which in a snapshot is when the snapshot was taken: all of its rows, \
             years old, count into the windows of those minutes. Set '{SNAPSHOT}' = 'exclude' to count changes only, 'include' if that \
             is what you want, or take the event time from a column of the row",
            table.name, metadata.key
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::sql::query::load_texts;
    use crate::sql::text::Variables;

    async fn warnings(columns: &str, options: &str, query: &str) -> Vec<String> {
        let text = format!(
            "CREATE TABLE t (id INT, {columns} PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't', \
             'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json'{options}); {query};"
        );
        load_texts(vec![("q.sql".into(), text)], &Variables::default()).await.unwrap().warnings
    }

    #[tokio::test]
    async fn a_snapshot_in_the_windows_of_a_minute() {
        let windows =
            "SELECT count(*) AS n FROM TUMBLE(CHANGES(t), at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end";
        let at = |key: &str| format!("at TIMESTAMP(3) METADATA FROM '{key}', WATERMARK FOR at AS at,");
        for key in ["value.source.ts_ms", "value.source.timestamp", "value.ingestion-timestamp", "timestamp"] {
            let found = warnings(&at(key), "", windows).await;
            assert!(found.len() == 1 && found[0].contains("'snapshot' = 'exclude'"), "{key}: {found:?}");
        }
        for (columns, options, query) in [
            (at("value.source.ts_ms").as_str(), ", 'snapshot' = 'include'", windows),
            (&at("value.source.ts_ms"), ", 'snapshot' = 'exclude'", windows),
            ("at TIMESTAMP(3), WATERMARK FOR at AS at,", "", windows),
            (&at("value.source.ts_ms"), "", "SELECT id FROM CHANGES(t)"),
        ] {
            assert_eq!(warnings(columns, options, query).await, Vec::<String>::new(), "{columns} {options}");
        }
    }

    #[tokio::test]
    async fn a_table_that_is_not_read_from_its_beginning() {
        for (options, warns) in [
            (", 'scan.startup.mode' = 'latest-offset'", true),
            (", 'scan.startup.mode' = 'group-offsets', 'properties.group.id' = 'g'", true),
            (", 'properties.group.id' = 'g', 'properties.auto.offset.reset' = 'latest'", true),
            (", 'properties.group.id' = 'g'", false),
            ("", false),
        ] {
            assert_eq!(warnings("", options, "SELECT id FROM t").await.len(), usize::from(warns), "{options}");
            assert_eq!(warnings("", options, "SELECT id FROM CHANGES(t)").await.len(), 0, "{options}");
        }
    }
}
