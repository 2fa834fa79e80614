//! What the oracle runs: a query of a certain shape and what comes in, as the text of a case.

use std::fmt::Write;

use super::generate::Random;
use super::model::Model;
use crate::connector::MAX_DRIFT;

/// Where times begin: 2026-03-01 10:00 UTC.
pub(super) const BASE: i64 = 1_772_359_200_000;

/// The kinds of windows in `make test`.
const KINDS: &str = "tumble,hop,cumulate,session";
/// So late is nothing. Of sessions the model knows only what they are, not when they are over.
const FOREVER: i64 = 10_000_000;

/// How a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Rows of JSON.
    Rows,
    /// Change events.
    Changes,
    /// The rows of a table that changes; kept, or as the events say.
    Table { kept: bool },
}

/// A window function. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    Tumble { size: i64, offset: i64 },
    Hop { slide: i64, size: i64, offset: i64 },
    Cumulate { step: i64, size: i64, offset: i64 },
    Session { gap: i64 },
}

/// A column of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Rows,
    Values,
    Sum,
    Least,
    Most,
    Mean,
    Distinct,
    Positive,
}

/// What rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Positive,
    NotA,
    Inserts,
}

/// What groups there are besides windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    Name,
    NameAndParity,
}

/// A query.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) reading: Reading,
    pub(super) window: Window,
    pub(super) delay: i64,
    pub(super) idle_timeout: i64,
    pub(super) idle_close: i64,
    /// How far partitions may be apart; 0 is no matter.
    pub(super) max_drift: i64,
    pub(super) filter: Filter,
    pub(super) keys: Keys,
    pub(super) aggregates: Vec<Aggregate>,
    /// Groups with at most so many rows are left out.
    pub(super) having: Option<i64>,
    /// The groups with most rows of each window, so many.
    pub(super) top: Option<usize>,
    pub(super) emission: Emission,
}

/// When results come. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Emission {
    pub(super) every: Option<i64>,
    pub(super) lateness: i64,
    pub(super) fill: Option<u64>,
}

/// A record: the row as it is now, or was when it was deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    pub(super) partition: i32,
    pub(super) row: Row,
    /// Debezium's letter; 0 is an insert.
    pub(super) op: u8,
    /// Of which row of a table it is.
    pub(super) id: u64,
    /// What it says the row of the table was before.
    pub(super) before: Option<Row>,
}

/// A row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// After [`BASE`].
    pub(super) time: Option<i64>,
    pub(super) name: Option<&'static str>,
    pub(super) value: Option<i64>,
}

/// What comes, or happens.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Event(Event),
    Restart,
    Advance(i64),
}

/// A query and what comes in.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) shape: Shape,
    pub(super) items: Vec<Item>,
}

impl Shape {
    pub(super) fn random(random: &mut Random) -> Self {
        use Aggregate::*;
        let table = |kept| Reading::Table { kept };
        let reading = random.pick(&[Reading::Rows, Reading::Changes, table(true), table(true), table(false)]);
        let filters: &[Filter] = match reading {
            Reading::Rows | Reading::Table { .. } => &[Filter::All, Filter::Positive, Filter::NotA],
            Reading::Changes => &[Filter::All, Filter::Positive, Filter::Inserts],
        };
        let mut aggregates = vec![Rows];
        aggregates
            .extend([Values, Sum, Least, Most, Mean, Distinct, Positive].into_iter().filter(|_| random.one_in(2)));
        let shape = Self {
            reading,
            window: Window::random(random),
            delay: random.pick(&[0, 3_000, 20_000]),
            idle_timeout: random.pick(&[10_000, 30_000]),
            idle_close: random.pick(&[30_000, 60_000]),
            max_drift: random.pick(&[0, 1, 2_000, 60_000]),
            filter: random.pick(filters),
            keys: random.pick(&[Keys::None, Keys::Name, Keys::NameAndParity]),
            aggregates,
            having: random.one_in(4).then(|| random.below(3) as i64),
            top: random.one_in(4).then(|| 1 + random.below(3) as usize),
            emission: Emission::random(random, reading),
        };
        match shape.window {
            Window::Session { .. } => Self {
                delay: FOREVER,
                filter: Filter::All,
                keys: if shape.keys == Keys::None { Keys::None } else { Keys::Name },
                emission: Emission::default(),
                ..shape
            },
            _ => shape,
        }
    }

    /// The shape of the test by hand.
    pub(super) fn simplify(&mut self) {
        *self = Self {
            reading: Reading::Rows,
            window: Window::Tumble { size: 10_000, offset: 0 },
            delay: 3_000,
            filter: Filter::All,
            keys: Keys::None,
            aggregates: vec![Aggregate::Rows],
            having: None,
            top: None,
            emission: Emission::default(),
            ..self.clone()
        };
    }

    /// The columns of the result.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        let aggregates = self.aggregates.iter().map(|aggregate| aggregate.column());
        ["window_start", "window_end"]
            .into_iter()
            .chain(self.keys.columns().iter().copied())
            .chain(aggregates)
            .collect()
    }

    fn sql(&self) -> String {
        let seconds = |time: i64| format!("INTERVAL '{}' MILLISECOND", time);
        const KEY: &str = "PRIMARY KEY (id) NOT ENFORCED,";
        const KEPT: &str = "debezium-json', 'before-images' = 'kept";
        const TRUSTED: &str = "debezium-json', 'before-images' = 'trusted";
        let (table, key, format) = match self.reading {
            Reading::Rows => ("t", "", "json"),
            Reading::Changes => ("CHANGES(t)", KEY, "debezium-json"),
            Reading::Table { kept } => ("t", KEY, if kept { KEPT } else { TRUSTED }),
        };
        let window = match self.window {
            Window::Tumble { size, offset } => format!("TUMBLE({table}, at, {}, {})", seconds(size), seconds(offset)),
            Window::Hop { slide, size, offset } => {
                format!("HOP({table}, at, {}, {}, {})", seconds(slide), seconds(size), seconds(offset))
            }
            Window::Cumulate { step, size, offset } => {
                format!("CUMULATE({table}, at, {}, {}, {})", seconds(step), seconds(size), seconds(offset))
            }
            Window::Session { gap } => {
                let by = if self.keys == Keys::None { "" } else { " PARTITION BY name" };
                format!("SESSION({table}{by}, at, {})", seconds(gap))
            }
        };
        let filter = match self.filter {
            Filter::All => "",
            Filter::Positive => "WHERE value > 0",
            Filter::NotA => "WHERE name <> 'a'",
            Filter::Inserts => "WHERE _op IN ('c', 'r')",
        };
        let keys: String = self.keys.sql().iter().map(|it| format!(", {it}")).collect();
        let selected: Vec<String> = ["window_start".to_owned(), "window_end".to_owned()]
            .into_iter()
            .chain(self.keys.sql().iter().zip(self.keys.columns()).map(|(sql, name)| format!("{sql} AS {name}")))
            .chain(self.aggregates.iter().map(|it| format!("{} AS {}", it.sql(), it.column())))
            .collect();
        let having = self.having.map_or(String::new(), |most| format!("HAVING count(*) > {most}"));
        let order: String = self.keys.columns().iter().map(|name| format!(", {name}")).collect();
        let top = self.top.map_or(String::new(), |count| format!("ORDER BY n DESC{order} LIMIT {count}"));
        format!(
            "CREATE TABLE t (id BIGINT, name STRING, value BIGINT, at TIMESTAMP(3), {key}\n  \
             WATERMARK FOR at AS at - {} IDLE TIMEOUT {})\n\
             WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = '{format}', \
             'idle-close' = '{} ms', '{MAX_DRIFT}' = '{} ms');\n\
             CREATE TABLE results WITH ('connector' = 'blackhole');\n\
             INSERT INTO results\nSELECT {}\nFROM {window}\n{filter}\nGROUP BY window_start, window_end{keys}\n{having}\n{top}\n{};\n",
            seconds(self.delay),
            seconds(self.idle_timeout),
            self.idle_close,
            self.max_drift,
            selected.join(", "),
            self.emission.sql(),
        )
    }
}

impl Emission {
    fn random(random: &mut Random, reading: Reading) -> Self {
        let changes = matches!(reading, Reading::Table { .. });
        let fill = (random.one_in(6) && !changes).then(|| 1 + random.below(4));
        let every = (fill.is_none() && random.one_in(3)).then(|| random.pick(&[1_000, 5_000]));
        let is_late = fill.is_none() && random.one_in(3);
        let lateness = if is_late { random.pick(&[1_500, 10_000, 40_000]) } else { 0 };
        Self { every, lateness, fill }
    }

    fn sql(self) -> String {
        let interval = |time: i64| format!("INTERVAL '{time}' MILLISECOND");
        let mut sql = match self.every {
            Some(every) => format!("EMIT CHANGES EVERY {}", interval(every)),
            None => "EMIT ON WINDOW CLOSE".to_owned(),
        };
        if self.lateness > 0 {
            sql.push_str(&format!(" ALLOWED LATENESS {}", interval(self.lateness)));
        }
        if let Some(fill) = self.fill {
            sql.push_str(&format!(" FILL EMPTY WINDOWS FOR {fill}"));
        }
        sql
    }
}

impl Window {
    /// A window of the kinds in HIGHWATER_WINDOWS, with commas between them.
    fn random(random: &mut Random) -> Self {
        let kinds = std::env::var("HIGHWATER_WINDOWS").unwrap_or_else(|_| KINDS.to_owned());
        let kinds: Vec<&str> = kinds.split(',').collect();
        let size = random.pick(&[1_000, 5_000, 10_000, 15_000, 60_000]);
        let offset = random.pick(&[0, 0, 0, 1_500, -2_000]);
        match random.pick(&kinds) {
            "tumble" => Self::Tumble { size, offset },
            // Also slides that do not divide the size.
            "hop" => {
                Self::Hop { slide: random.pick(&[size, size / 2, size / 5, size / 5 * 2, size / 5 * 3]), size, offset }
            }
            "cumulate" => Self::Cumulate { step: size / random.pick(&[1, 2, 5]), size, offset },
            "session" => Self::Session { gap: size / 5 },
            other => panic!("HIGHWATER_WINDOWS: there is no \"{other}\"; there are {KINDS}"),
        }
    }
}

impl Keys {
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Name => &["name"],
            Self::NameAndParity => &["name", "parity"],
        }
    }

    fn sql(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Name => &["name"],
            Self::NameAndParity => &["name", "value % 2"],
        }
    }
}

impl Aggregate {
    fn column(self) -> &'static str {
        match self {
            Self::Rows => "n",
            Self::Values => "n_values",
            Self::Sum => "total",
            Self::Least => "least",
            Self::Most => "most",
            Self::Mean => "mean",
            Self::Distinct => "n_distinct",
            Self::Positive => "positive",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Rows => "count(*)",
            Self::Values => "count(value)",
            Self::Sum => "sum(value)",
            Self::Least => "min(value)",
            Self::Most => "max(value)",
            Self::Mean => "avg(value)",
            Self::Distinct => "count(DISTINCT value)",
            Self::Positive => "count(*) FILTER (WHERE value > 0)",
        }
    }
}

impl Row {
    fn image(self, id: u64) -> serde_json::Value {
        let Self { time, name, value } = self;
        serde_json::json!({"id": id, "name": name, "value": value, "at": time.map(|time| BASE + time)})
    }
}

impl Event {
    fn line(&self, place: usize, reading: Reading) -> String {
        let id = if matches!(reading, Reading::Table { .. }) { self.id } else { place as u64 };
        let image = self.row.image(id);
        // What was there before is of no interest to CHANGES.
        let before = match (reading, self.before) {
            (Reading::Table { .. }, Some(before)) => before.image(id),
            (Reading::Table { .. }, None) => serde_json::json!({"id": id}),
            _ => serde_json::json!({"id": id, "at": BASE}),
        };
        let value = match (reading, self.op) {
            (Reading::Rows, _) => image,
            (Reading::Changes, b'd') => serde_json::json!({"op": "d", "before": image, "after": null}),
            (_, b'd') => serde_json::json!({"op": "d", "before": before, "after": null}),
            (_, b'u') => serde_json::json!({"op": "u", "before": before, "after": image}),
            (_, b'r') => serde_json::json!({"op": "r", "before": null, "after": image}),
            _ => serde_json::json!({"op": "c", "before": null, "after": image}),
        };
        format!("@partition={} {value}", self.partition)
    }
}

impl Scenario {
    /// It as a case, with what the model expects.
    pub(super) fn text(&self) -> String {
        let expected = Model::run(self);
        let mut text = format!("=== query\n{}\n=== input t\n", self.shape.sql());
        let mut verdicts = expected.verdicts.iter();
        for (id, item) in self.items.iter().enumerate() {
            let _ = match item {
                Item::Restart => writeln!(text, "-- restart"),
                Item::Advance(time) => writeln!(text, "-- advance {time} ms"),
                Item::Event(event) => {
                    let mark =
                        verdicts.next().and_then(|it| it.mark()).map_or(String::new(), |mark| format!("{mark}\n"));
                    writeln!(text, "{mark}{}", event.line(id, self.shape.reading))
                }
            };
        }
        let _ = writeln!(text, "\n=== expected results\n{}", self.shape.columns().join(" | "));
        for row in &expected.rows {
            let _ = writeln!(text, "{}", row.join(" | "));
        }
        if matches!(self.shape.reading, Reading::Table { .. }) {
            let _ =
                writeln!(text, "=== expected results_late\nwindow_start | window_end | sign | _partition | _offset");
            for row in &expected.late {
                let _ = writeln!(text, "{}", row.join(" | "));
            }
        }
        text
    }
}
