//! Random queries of many forms, each as two texts: for the engine, with windowing table functions, and for a database that has the
//! windowed rows as tables.

use std::fmt::Write;

use crate::testing::oracle::generate::Random;

/// The windows of one query. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    function: Function,
    size: i64,
    step: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Tumble,
    Hop,
    Cumulate,
}

impl Window {
    fn random(random: &mut Random) -> Self {
        let size = random.pick(&[5_000, 10_000, 60_000]);
        match random.below(5) {
            0 => Self { function: Function::Hop, size, step: random.pick(&[size / 5, size / 5 * 2, size]) },
            1 => Self { function: Function::Cumulate, size, step: size / random.pick(&[1, 5]) },
            _ => Self { function: Function::Tumble, size, step: size },
        }
    }

    fn of_rows(self, rows: &str) -> String {
        let interval = |length: i64| format!("INTERVAL '{length}' MILLISECOND");
        let (size, step) = (interval(self.size), interval(self.step));
        match self.function {
            Function::Tumble => format!("TUMBLE({rows}, at, {size})"),
            Function::Hop => format!("HOP({rows}, at, {step}, {size})"),
            Function::Cumulate => format!("CUMULATE({rows}, at, {step}, {size})"),
        }
    }

    /// The windows of a time, as start and end: by trying all that there could be.
    pub(super) fn of(self, time: i64) -> Vec<(i64, i64)> {
        let first = time.div_euclid(self.size) - 1;
        let candidates = (0..=2 * self.size / self.step + 2).map(|number| first * self.size + number * self.step);
        match self.function {
            // All steps here divide the minute at which times begin, but not all sizes: those of HOP are multiples of the slide.
            Function::Tumble | Function::Hop => {
                let starts = (-2 * self.size / self.step..=1)
                    .map(|back| time.div_euclid(self.step) * self.step + back * self.step);
                starts
                    .map(|start| (start, start + self.size))
                    .filter(|&(start, end)| (start..end).contains(&time))
                    .collect()
            }
            Function::Cumulate => {
                let start = time.div_euclid(self.size) * self.size;
                let ends = candidates.filter(|&end| end > time && end > start && end <= start + self.size);
                ends.map(|end| (start, end)).collect()
            }
        }
    }
}

/// How tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Rows of JSON.
    Rows,
    /// Change events.
    Changes,
    /// The rows of tables that change.
    Current,
}

/// Rows with windows, in place of which the database has a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windowed {
    /// Of these tables together.
    pub(super) tables: Vec<&'static str>,
    engine: String,
}

/// A query in the making.
#[derive(Debug)]
pub(super) struct Grammar<'a> {
    random: &'a mut Random,
    pub(super) window: Window,
    pub(super) reading: Reading,
    pub(super) sources: Vec<Windowed>,
}

/// What may be said of a row.
const SCALARS: [&str; 14] = [
    "value",
    "value + 1",
    "id % 3",
    "upper(name)",
    "coalesce(name, 'z')",
    "CASE WHEN value > 0 THEN 'p' WHEN value < 0 THEN 'n' END",
    "name || '!'",
    "value IS NULL",
    "abs(value)",
    "nullif(value, 0)",
    "char_length(name)",
    "CAST(value AS DOUBLE) / 2",
    "EXTRACT(SECOND FROM at)",
    "value * id",
];
const KEYS: [&str; 6] = ["name", "value % 2", "coalesce(name, 'z')", "id % 2", "value > 0", "upper(name)"];
const CONDITIONS: [&str; 9] = [
    "value > 0",
    "name <> 'a'",
    "name IN ('a', 'b')",
    "value BETWEEN -5 AND 5",
    "name LIKE 'a%' OR value IS NULL",
    "NOT (value > 3 AND name = 'b')",
    "name IS NOT NULL",
    "id % 2 = 0",
    "coalesce(value, 0) >= 0",
];
const AGGREGATES: [&str; 16] = [
    "count(*)",
    "count(value)",
    "sum(value)",
    "min(value)",
    "max(name)",
    "avg(value)",
    "count(DISTINCT name)",
    "count(DISTINCT value)",
    "sum(value) FILTER (WHERE value > 0)",
    "count(*) FILTER (WHERE name = 'a')",
    "sum(CASE WHEN name = 'b' THEN 1 ELSE 0 END)",
    "max(value) - min(value)",
    "bool_or(value > 5)",
    "string_agg(name, ',' ORDER BY id)",
    "first_value(value ORDER BY id)",
    "sum(value * id) + count(*)",
];
const JOINS: [&str; 4] = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];

impl<'a> Grammar<'a> {
    pub(super) fn new(random: &'a mut Random) -> Self {
        let window = Window::random(random);
        let reading = random.pick(&[Reading::Rows, Reading::Changes, Reading::Current]);
        Self { random, window, reading, sources: Vec::new() }
    }

    /// The query for the engine.
    pub(super) fn for_engine(&self, text: &str) -> String {
        self.replaced(&chosen(text, 0), |source| source.engine.clone())
    }

    /// The query for a database that has the tables `w0`, `w1`, ….
    pub(super) fn for_database(&self, text: &str) -> String {
        let name = |source: &Windowed| {
            self.sources.iter().position(|it| it == source).map_or(String::new(), |at| format!("w{at}"))
        };
        self.replaced(&chosen(text, 1), name)
    }

    fn replaced(&self, text: &str, with: impl Fn(&Windowed) -> String) -> String {
        let replace = |text: String, (at, source): (usize, &Windowed)| text.replace(&format!("«{at}»"), &with(source));
        self.sources.iter().enumerate().fold(text.to_owned(), replace)
    }

    /// Rows with windows.
    fn windowed(&mut self) -> String {
        let (window, reading) = (self.window, self.reading);
        let read = |table: &str| match reading {
            Reading::Changes => format!("CHANGES({table})"),
            Reading::Rows | Reading::Current => table.to_owned(),
        };
        let (tables, rows) = match self.random.below(6) {
            0 => {
                let selects = ["t", "u"].map(|table| format!("SELECT id, name, value, at FROM {}", read(table)));
                (vec!["t", "u"], format!("({})", selects.join(" UNION ALL ")))
            }
            1 | 2 => (vec!["u"], read("u")),
            _ => (vec!["t"], read("t")),
        };
        let source = Windowed { tables, engine: window.of_rows(&rows) };
        let at = self.sources.iter().position(|it| *it == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        format!("«{at}»")
    }

    fn condition(&mut self) -> String {
        match self.random.below(3) {
            0 => String::new(),
            1 => format!(" WHERE {}", self.random.pick(&CONDITIONS)),
            _ => format!(" WHERE ({}) AND ({})", self.random.pick(&CONDITIONS), self.random.pick(&CONDITIONS)),
        }
    }

    /// Groups of windows: `window_start`, `window_end`, keys `k0`, … and aggregates `a0`, ….
    fn groups(&mut self, keys: &[&str], aggregates: usize) -> String {
        let source = self.windowed();
        let mut select = "SELECT window_start, window_end".to_owned();
        let mut group = "window_start, window_end".to_owned();
        for (at, key) in keys.iter().enumerate() {
            let _ = write!(select, ", {key} AS k{at}");
            let _ = write!(group, ", {key}");
        }
        for at in 0..aggregates {
            let _ = write!(select, ", {} AS a{at}", self.random.pick(&AGGREGATES));
        }
        let condition = self.condition();
        let having = if self.random.one_in(5) { " HAVING count(*) > 1" } else { "" };
        format!("{select} FROM {source}{condition} GROUP BY {group}{having}")
    }

    /// The same with a count for `a0`, that can be counted with.
    fn counted(&mut self, keys: &[&str]) -> String {
        let source = self.windowed();
        let count = self.random.pick(&["count(*)", "count(value)", "coalesce(sum(value), 0)"]);
        let named: String = keys.iter().enumerate().map(|(at, key)| format!(", {key} AS k{at}")).collect();
        let grouped: String = keys.iter().map(|key| format!(", {key}")).collect();
        let condition = self.condition();
        format!(
            "SELECT window_start, window_end{named}, {count} AS a0 FROM {source}{condition} GROUP BY window_start, window_end{grouped}"
        )
    }

    fn keys(&mut self, most: u64) -> Vec<&'static str> {
        let first = self.random.below(KEYS.len() as u64) as usize;
        let count = self.random.below(most + 1) as usize;
        (0..count).map(|at| KEYS[(first + 2 * at) % KEYS.len()]).collect()
    }

    fn key(&mut self) -> [&'static str; 1] {
        [self.random.pick(&KEYS)]
    }

    fn join(&mut self) -> String {
        let key = self.key();
        let (one, other, join) = (self.counted(&key), self.counted(&key), self.random.pick(&JOINS));
        let by_key = if self.random.one_in(3) { "" } else { " AND a.k0 = b.k0" };
        let more = if join == "JOIN" && self.random.one_in(3) { " AND a.a0 >= b.a0" } else { "" };
        let filter = if self.random.one_in(3) { " WHERE coalesce(a.a0, 0) + coalesce(b.a0, 0) > 1" } else { "" };
        format!(
            "SELECT coalesce(a.window_start, b.window_start) AS window_start, coalesce(a.window_end, b.window_end) AS window_end, \
             a.k0 AS k0, b.k0 AS k1, a.a0 AS a0, b.a0 AS b0 FROM ({one}) AS a {join} ({other}) AS b \
             ON a.window_start = b.window_start AND a.window_end = b.window_end{by_key}{more}{filter}"
        )
    }

    /// One of many forms.
    pub(super) fn query(&mut self) -> String {
        match self.random.below(23) {
            0 | 1 => {
                let (keys, aggregates) = (self.keys(2), 1 + self.random.below(4) as usize);
                self.groups(&keys, aggregates)
            }
            2 => {
                let key = self.key();
                let below = self.counted(&key);
                let again = if self.random.one_in(2) { ", k0" } else { "" };
                format!(
                    "SELECT window_start, window_end{again}, sum(a0) AS b0, max(a0) AS b1, count(*) AS b2 FROM ({below}) AS x \
                     GROUP BY window_start, window_end{again}"
                )
            }
            3 | 4 => self.join(),
            5 => {
                let key = self.key();
                let (one, other) = (self.counted(&key), self.counted(&key));
                format!("{one} UNION ALL {other}")
            }
            6 => {
                let (one, other) = (self.windowed(), self.windowed());
                let left = if self.random.one_in(2) { "LEFT JOIN" } else { "JOIN" };
                let (more, scalar) = (
                    self.random.pick(&["", " AND a.value > b.value", " AND a.id <> b.id"]),
                    self.random.pick(&["a.value", "a.value + b.value", "upper(b.name)"]),
                );
                format!(
                    "SELECT a.window_start, a.window_end, a.id AS one, b.id AS other, {scalar} AS s FROM {one} AS a {left} {other} AS b \
                     ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.name = b.name{more}"
                )
            }
            7 => {
                let key = self.key();
                let (below, function) = (self.counted(&key), self.random.pick(&["row_number", "rank", "dense_rank"]));
                let most = 1 + self.random.below(3);
                format!(
                    "SELECT window_start, window_end, k0, a0, rn FROM (SELECT *, {function}() OVER (PARTITION BY window_start, window_end \
                     ORDER BY a0 DESC, k0) AS rn FROM ({below}) AS x) AS y WHERE rn <= {most}"
                )
            }
            8 => {
                let key = self.key();
                let (one, other) = (self.counted(&key), self.counted(&key));
                let not = self.random.pick(&["", "NOT "]);
                format!(
                    "SELECT window_start, window_end, k0, a0 FROM ({one}) AS a WHERE {not}EXISTS (SELECT 1 FROM ({other}) AS b \
                     WHERE b.window_start = a.window_start AND b.window_end = a.window_end AND b.k0 = a.k0)"
                )
            }
            9 => {
                let key = self.key();
                format!("SELECT DISTINCT window_start, window_end, a0 FROM ({}) AS x", self.counted(&key))
            }
            10 => {
                let key = self.key();
                let below = self.counted(&key);
                format!(
                    "WITH x AS ({below}) SELECT x.window_start, x.window_end, x.k0, x.a0, y.m FROM x JOIN (SELECT window_start, window_end, \
                     max(a0) AS m FROM x GROUP BY window_start, window_end) AS y ON x.window_start = y.window_start \
                     AND x.window_end = y.window_end WHERE x.a0 = y.m"
                )
            }
            11 => {
                let key = self.key();
                let (one, other) = (self.counted(&key), self.counted(&key));
                let both = self.random.pick(&["INTERSECT", "EXCEPT", "UNION"]);
                let columns = "SELECT window_start, window_end, k0";
                format!("{columns} FROM ({one}) AS a {both} {columns} FROM ({other}) AS b")
            }
            12 => {
                let (source, condition) = (self.windowed(), self.condition());
                let sets = self.random.pick(&[
                    "GROUPING SETS ((window_start, window_end, name), (window_start, window_end))",
                    "window_start, window_end, ROLLUP (name, value % 2)",
                    "window_start, window_end, CUBE (name, value % 2)",
                ]);
                format!(
                    "SELECT window_start, window_end, name, count(*) AS n, sum(value) AS total FROM {source}{condition} GROUP BY {sets}"
                )
            }
            13 => {
                let (source, condition) = (self.windowed(), self.condition());
                let (one, other) = (self.random.pick(&SCALARS), self.random.pick(&SCALARS));
                format!("SELECT window_start, window_end, id, {one} AS s, {other} AS r FROM {source}{condition}")
            }
            14 => {
                // Three inputs.
                let (one, other, third) = (self.counted(&[]), self.counted(&[]), self.counted(&[]));
                let (join, again) = (self.random.pick(&JOINS[..2]), self.random.pick(&JOINS[..2]));
                let on =
                    |side: &str| format!("a.window_start = {side}.window_start AND a.window_end = {side}.window_end");
                format!(
                    "SELECT a.window_start, a.window_end, a.a0 AS a0, b.a0 AS b0, c.a0 AS c0 FROM ({one}) AS a {join} ({other}) AS b ON {} \
                     {again} ({third}) AS c ON {}",
                    on("b"),
                    on("c")
                )
            }
            15 => {
                // Groups of joined rows.
                let (one, other) = (self.windowed(), self.windowed());
                let (join, key) = (self.random.pick(&JOINS[..2]), self.random.pick(&["a.name", "a.id % 2", "b.name"]));
                format!(
                    "SELECT a.window_start, a.window_end, {key} AS k0, count(*) AS n, sum(b.value) AS total, count(DISTINCT b.id) AS ids \
                     FROM {one} AS a {join} {other} AS b ON a.window_start = b.window_start AND a.window_end = b.window_end \
                     AND a.name = b.name GROUP BY a.window_start, a.window_end, {key}"
                )
            }
            16 => {
                // Ranked rows, grouped.
                let (source, condition) = (self.windowed(), self.condition());
                format!(
                    "SELECT window_start, window_end, count(*) AS n, sum(value) AS total FROM (SELECT *, row_number() OVER \
                     (PARTITION BY window_start, window_end, name ORDER BY value, id) AS rn FROM {source}{condition}) AS x WHERE rn = 1 \
                     GROUP BY window_start, window_end"
                )
            }
            17 => {
                let key = self.key();
                let (one, other) = (self.counted(&key), self.counted(&key));
                format!(
                    "SELECT window_start, window_end, k0, a0 FROM ({one}) AS a WHERE k0 IN (SELECT k0 FROM ({other}) AS b \
                     WHERE b.window_start = a.window_start AND b.window_end = a.window_end)"
                )
            }
            18 => {
                // What each group is of its window, and of the group before.
                let key = self.key();
                let below = self.counted(&key);
                let of = self.random.pick(&[
                    "sum(a0) OVER (PARTITION BY window_start, window_end)",
                    "CAST(a0 AS DOUBLE) / nullif(max(a0) OVER (PARTITION BY window_start, window_end), 0)",
                    "lag(a0) OVER (PARTITION BY window_start, window_end ORDER BY k0)",
                    "ntile(2) OVER (PARTITION BY window_start, window_end ORDER BY a0, k0)",
                ]);
                format!("SELECT window_start, window_end, k0, a0, {of} AS s FROM ({below}) AS x")
            }
            19 => {
                // Counted rows of both.
                let (one, other) = (self.counted(&[]), self.counted(&[]));
                format!(
                    "SELECT window_start, window_end, sum(a0) AS b0, count(*) AS b1 FROM ({one} UNION ALL {other}) AS x \
                     GROUP BY window_start, window_end HAVING sum(a0) > 0"
                )
            }
            20 => {
                // Rows with what there is of their window.
                let (source, condition) = (self.windowed(), self.condition());
                let below = self.counted(&[]);
                format!(
                    "SELECT r.window_start, r.window_end, r.id, r.value, g.a0 FROM {source} AS r JOIN ({below}) AS g \
                     ON r.window_start = g.window_start AND r.window_end = g.window_end{}",
                    condition.replace("value", "r.value").replace("name", "r.name").replace("id %", "r.id %")
                )
            }
            21 => {
                // Windows of windows.
                let (source, condition, key) = (self.windowed(), self.condition(), self.random.pick(&KEYS));
                let below = "count(*) AS n, coalesce(sum(value), 0) AS total";
                format!(
                    "SELECT window_start, window_end, count(*) AS a0, sum(n) AS a1, max(total) AS a2 FROM \
                     [TUMBLE((SELECT window_time, {key} AS k0, {below} FROM {source}{condition} \
                     GROUP BY window_start, window_end, window_time, {key}), window_time, INTERVAL '2' MINUTE)~\
                     (SELECT date_bin(INTERVAL '2 minutes', window_end - INTERVAL '1 millisecond') AS window_start, \
                     date_bin(INTERVAL '2 minutes', window_end - INTERVAL '1 millisecond') + INTERVAL '2 minutes' AS window_end, n, total FROM \
                     (SELECT window_start AS s, window_end, {key} AS k0, {below} FROM {source}{condition} \
                     GROUP BY window_start, window_end, {key}) AS x) AS y] GROUP BY window_start, window_end"
                )
            }
            _ => {
                let (source, condition) = (self.windowed(), self.condition());
                let of = self.random.pick(&[
                    "sum(value) OVER (PARTITION BY window_start, window_end ORDER BY id, name)",
                    "count(*) OVER (PARTITION BY window_start, window_end)",
                    "lag(value) OVER (PARTITION BY window_start, window_end, name ORDER BY id)",
                    "row_number() OVER (PARTITION BY window_start, window_end ORDER BY id, name)",
                    "first_value(id) OVER (PARTITION BY window_start, window_end ORDER BY id, name)",
                ]);
                format!("SELECT window_start, window_end, id, {of} AS s FROM {source}{condition}")
            }
        }
    }
}

/// A text in which `[one~other]` stands for the one or the other.
fn chosen(text: &str, which: usize) -> String {
    let parts = text.split(['[', ']']).enumerate();
    let choice = |(at, part): (usize, &str)| match at % 2 {
        0 => part.to_owned(),
        _ => part.split('~').nth(which).unwrap_or_default().to_owned(),
    };
    parts.map(choice).collect()
}
