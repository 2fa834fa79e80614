//! Query files, read and not yet compiled: what is left out of them may first have to be looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::define::catalog::{Script, Table};
use super::define::database::{DatabaseMirror, SourceDatabase};
use super::query::{Query, compile_script};
use super::statement::read_statements;
use super::text::{Text, Variables};
use crate::error::{Error, Result};
use crate::format::infer::RowSchema;

/// Query files as they were submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    script: Script,
    files: Vec<File>,
}

/// A file and what of the script is from it.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) text: Text,
    pub(super) views: Range<usize>,
    pub(super) inserts: Range<usize>,
}

/// What was looked up for a submission.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovered {
    /// The rows of the tables that declare no columns, by the table's name.
    pub tables: BTreeMap<String, RowSchema>,
    /// The tables of source databases, by the database's name and the topic.
    pub databases: BTreeMap<String, BTreeMap<String, RowSchema>>,
}

impl Submission {
    /// Reads query files as one.
    pub fn read(files: &[impl AsRef<Path>], variables: &Variables) -> Result<Self> {
        let mut texts = Vec::new();
        for file in files {
            let path = file.as_ref();
            let source = std::fs::read_to_string(path)
                .map_err(|cause| Error::permanent(format!("cannot read {}", path.display()), cause))?;
            texts.push((path.display().to_string(), source));
        }
        Self::of_texts(texts, variables)
    }

    /// Reads texts, each with the name that messages use for it.
    pub fn of_texts(texts: Vec<(String, String)>, variables: &Variables) -> Result<Self> {
        let mut submission = Self { script: Script::default(), files: Vec::new() };
        for (file, source) in texts {
            submission.add(Text::new(file, &source, variables)?)?;
        }
        Ok(submission)
    }

    fn add(&mut self, text: Text) -> Result<()> {
        let (views, inserts) = (self.script.views.len(), self.script.inserts.len());
        read_statements(&text, &mut self.script)?;
        let (views, inserts) = (views..self.script.views.len(), inserts..self.script.inserts.len());
        self.files.push(File { text, views, inserts });
        Ok(())
    }

    /// Gives a table another value of an option. False when there is no such table.
    pub fn set_option(&mut self, table: &str, option: &str, value: &str) -> bool {
        let Some(table) = self.script.tables.get_mut(table) else { return false };
        Arc::make_mut(table).options.set(option, value);
        true
    }

    /// The tables that are read and declare no columns.
    pub fn open_tables(&self) -> Vec<&Arc<Table>> {
        let filled: BTreeSet<&str> = self.script.inserts.iter().filter_map(|insert| insert.target.as_deref()).collect();
        let views = self.script.views.iter().flat_map(|view| &view.tokens);
        let inserts = self.script.inserts.iter().flat_map(|insert| &insert.tokens);
        let word = |it: &TokenWithSpan| match &it.token {
            Token::Word(word) => Some(word.value.clone()),
            _ => None,
        };
        let mentioned: BTreeSet<String> = views.chain(inserts).filter_map(word).collect();
        let is_open = |table: &&Arc<Table>| {
            let name = table.name.as_str();
            let is_asked = table.options.get("connector") != Some("clickhouse");
            table.columns.fields().is_empty() && mentioned.contains(name) && !filled.contains(name) && is_asked
        };
        self.script.tables.values().filter(is_open).collect()
    }

    /// The databases that are mirrored, with where they come from.
    pub fn mirrors(&self) -> impl Iterator<Item = (&SourceDatabase, &DatabaseMirror)> {
        self.script.mirrors.iter().filter_map(|mirror| Some((self.script.databases.get(&mirror.source)?, mirror)))
    }

    /// Whether something has to be looked up before it can be compiled.
    pub fn is_open(&self) -> bool {
        !self.script.mirrors.is_empty() || !self.open_tables().is_empty()
    }

    /// The statements that mirrored databases stand for, given what was looked up.
    pub fn generated(&self, discovered: &Discovered) -> Result<Vec<(String, String)>> {
        let mut statements = Vec::new();
        for (source, mirror) in self.mirrors() {
            let tables = discovered.databases.get(&source.name);
            statements.extend(mirror.statements(source, tables.into_iter().flatten())?);
        }
        Ok(statements)
    }

    /// Compiles it with what was looked up.
    pub async fn compile(&self, discovered: &Discovered) -> Result<Query> {
        let mut whole = self.clone();
        for table in self.open_tables() {
            if let Some(rows) = discovered.tables.get(&table.name) {
                let filled = table.with_rows(rows)?;
                whole.script.tables.insert(table.name.clone(), Arc::new(filled));
            }
        }
        let generated = self.generated(discovered)?;
        for (name, text) in &generated {
            let tables: BTreeSet<String> = whole.script.tables.keys().cloned().collect();
            whole.add(Text::new(name.clone(), text, &Variables::none())?)?;
            for (_, table) in whole.script.tables.iter_mut().filter(|(name, _)| !tables.contains(*name)) {
                Arc::make_mut(table).open = !table.columns.fields().is_empty();
            }
        }
        whole.script.mirrors.clear();
        let is_waiting = generated.is_empty() && self.mirrors().next().is_some();
        compile_script(whole.script, &whole.files, is_waiting).await
    }
}
