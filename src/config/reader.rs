//! A TOML document, taken apart key by key; what is left over at the end is not a setting.
//!
//! Nothing stops at the first mistake: a value that does not fit is noted, a stand-in is returned,
//! and [`read`] withholds the whole if anything was noted.

use std::cell::RefCell;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::secret::{Password, Secret};
use super::{Problem, value};

/// Reads a document through `build`; every key that `build` did not ask for is a problem too.
pub(super) fn read<T>(text: &str, build: impl FnOnce(Section<'_>) -> T) -> Result<T, Vec<Problem>> {
    let notes = Notes { text, problems: RefCell::default() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = notes.line(error.span().map_or(text.len(), |span| span.start));
        notes.complain(line, error.message().to_owned());
    }
    if !errors.is_empty() {
        return Err(notes.into_problems());
    }
    let built = build(Section::new(&notes, String::new(), 1, root.into_inner()));
    let problems = notes.into_problems();
    if problems.is_empty() { Ok(built) } else { Err(problems) }
}

/// The text and what was found wrong with it.
struct Notes<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl Notes<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn line_after_last(&self) -> usize {
        self.text.lines().count() + 1
    }

    fn complain(&self, line: usize, text: String) {
        self.problems.borrow_mut().push(Problem { line, text });
    }

    fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// One table of the document.
pub(super) struct Section<'a> {
    notes: &'a Notes<'a>,
    name: String,
    line: usize,
    entries: BTreeMap<String, (usize, DeValue<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(notes: &'a Notes<'a>, name: String, line: usize, table: DeTable<'a>) -> Self {
        let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'a>>)| {
            let line = notes.line(key.span().start);
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            (key.into_owned(), (line, value.into_inner()))
        };
        let entries = table.into_iter().map(entry).collect();
        Self { notes, name, line, entries, known: Vec::new() }
    }

    /// The table `[key]`; an empty one if it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let name = self.full(key);
        let empty = |line| Section::new(self.notes, name.clone(), line, DeTable::new());
        match self.take(key) {
            None => empty(self.notes.line_after_last()),
            Some((line, DeValue::Table(table))) => Section::new(self.notes, name, line, table),
            Some((line, _)) => {
                self.notes.complain(line, format!("`{name}` must be a table, written `[{name}]`"));
                empty(line)
            }
        }
    }

    /// The tables `[[key]]`, in their order.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let name = self.full(key);
        let Some((line, value)) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value else {
            self.notes.complain(line, format!("`{name}` must be written `[[{name}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            let line = self.notes.line(item.span().start);
            match item.into_inner() {
                DeValue::Table(table) => {
                    sections.push(Section::new(self.notes, name.clone(), line, table));
                }
                _ => self.notes.complain(line, format!("`{name}` must be written `[[{name}]]`")),
            }
        }
        sections
    }

    /// The value of a key that must be there; a stand-in if it is not, or does not fit.
    pub(super) fn required<T: Default>(
        &mut self,
        key: &'static str,
        check: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        if !self.has(key) {
            self.missing(key, "");
        }
        self.optional(key, check, T::default())
    }

    /// The value of a key, or its default.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        check: impl Fn(&DeValue<'_>) -> Result<T, String>,
        default: T,
    ) -> T {
        let Some((line, value)) = self.take(key) else {
            return default;
        };
        check(&value).unwrap_or_else(|why| {
            self.notes.complain(line, format!("`{}` {why}", self.full(key)));
            default
        })
    }

    /// As [`Self::optional`], for a key that has no default.
    pub(super) fn maybe<T>(
        &mut self,
        key: &'static str,
        check: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.optional(key, |value| check(value).map(Some), None)
    }

    /// Whether the key is there and was not yet taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The line of a key that is there, else of the section.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.entries.get(key).map_or(self.line, |(line, _)| *line)
    }

    /// Notes that a key must be there, with a word on what else would do.
    pub(super) fn missing(&mut self, key: &'static str, or: &str) {
        let line = if self.name.is_empty() { 1 } else { self.line };
        self.notes.complain(line, format!("`{}` is missing{or}", self.full(key)));
    }

    /// Refuses a key that exists but has no place here.
    pub(super) fn refuse(&mut self, key: &'static str, why: &str) {
        if let Some((line, _)) = self.take(key) {
            self.notes.complain(line, format!("`{}` {why}", self.full(key)));
        }
    }

    /// Leaves keys unread.
    pub(super) fn ignore(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.take(key);
        }
    }

    /// A password, from a private file or from the environment.
    pub(super) fn password(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Password {
        let by_file = self.full("password_file");
        if let Some(file) = self.maybe("password_file", value::path) {
            self.refuse("password_env", &format!("and `{by_file}` exclude each other"));
            return Password::File(file);
        }
        let line = self.line_of("password_env");
        let Some(variable) = self.maybe("password_env", value::plain) else {
            return Password::None;
        };
        match env(&variable) {
            Some(secret) => Password::Given(Secret::new(secret)),
            None => {
                let key = self.full("password_env");
                let what = "names the environment variable";
                self.complain(line, format!("`{key}` {what} {variable}, which is not set"));
                Password::None
            }
        }
    }

    /// Notes a problem that no single value shows.
    pub(super) fn complain(&self, line: usize, text: String) {
        self.notes.complain(line, text);
    }

    /// Whatever was not asked for is not a setting.
    pub(super) fn finish(self) {
        for (key, (line, _)) in &self.entries {
            let near = value::nearest(key, &self.known);
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let name = self.full(&value::shortened(key));
            self.notes.complain(*line, format!("`{name}` is not a setting{hint}"));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(usize, DeValue<'a>)> {
        self.known.push(key);
        self.entries.remove(key)
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
