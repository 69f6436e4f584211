//! Which names a table's columns had when its rows were written. No I/O.
//!
//! Without `binlog_row_metadata=FULL` the log has no names, and the server only knows those of now.
//! They are believed for a row at position R if all of this holds:
//!
//! 1. Count, types, lengths, signs, nullability and collations agree with the table map
//!    ([`super::columns`]).
//! 2. After they were read, the log was read from R to its end, and no statement in between may
//!    have altered the table: what information_schema shows is in the log by then, because servers
//!    show a new definition only while it is locked or logged.
//!
//! Once believed they hold until a statement that may alter the table passes by in the stream.
//! "May alter" is wide on purpose: every statement but a few harmless verbs whose text contains
//! the table's name (anywhere, as a word), or that is about its database, or where names cannot be
//! compared.
//!
//! Not seen: DDL that is not in the log (`SET sql_log_bin=0`, or done on a stopped server's files)
//! if it leaves count and types as they were.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::columns::ColumnInfo;
use super::track::Track;
use crate::binlog::statement::{Verb, first_words};
use crate::position::file_order;

/// Tables whose columns are kept; beyond it one is read again when it is needed.
const TABLES_MAX: usize = 512;
/// Text of the statements ahead that is kept; beyond it nothing ahead is provable.
const AHEAD_BYTES_MAX: usize = 256 << 10;

/// What is known of a table by its name.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// These are its columns.
    Columns(Arc<[ColumnInfo]>),
    /// They could not be proven, and that has not changed since.
    Unprovable(Arc<str>),
}

/// Versions of tables, by schema and name.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    known: HashMap<(String, String), Known>,
    pub(super) ahead: Ahead,
    /// The statement that passes next is an ALTER that begins or failed (MariaDB's in two phases).
    pub(super) alters_nothing: bool,
}

impl Schemas {
    pub(super) fn known(&self, schema: &str, table: &str) -> Option<Known> {
        // The pair is owned in the map's key; a look-up per table map, not per row, may allocate.
        self.known.get(&(schema.to_owned(), table.to_owned())).cloned()
    }

    pub(super) fn learn(&mut self, schema: &str, table: &str, known: Known) {
        if self.known.len() >= TABLES_MAX {
            self.known.clear();
        }
        self.known.insert((schema.to_owned(), table.to_owned()), known);
    }

    /// Bytes may have been damaged: what did not agree with them may yet agree.
    pub(super) fn try_again(&mut self) {
        self.known.retain(|_, known| matches!(known, Known::Columns(_)));
    }

    /// A statement passes by in the stream: what it may alter is no longer known.
    pub(super) fn passed(&mut self, at: &Track, statement: &[u8]) {
        if !std::mem::take(&mut self.alters_nothing) && may_alter(statement) {
            let text = statement.to_ascii_lowercase();
            self.known.retain(|(schema, table), _| !concerns(&text, schema, table));
        }
        self.ahead.passed(at);
    }
}

/// The statements between the stream's place and the end of the log, as far as that was read.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    statements: VecDeque<(Track, Vec<u8>)>,
    bytes: usize,
    /// The log was read up to here.
    pub(super) end: Option<Track>,
    overflow: bool,
}

impl Ahead {
    /// Another statement, behind all before it.
    pub(super) fn push(&mut self, at: Track, statement: &[u8]) {
        if !may_alter(statement) {
            return;
        }
        self.bytes += statement.len();
        if self.bytes > AHEAD_BYTES_MAX {
            self.overflow = true;
            return;
        }
        self.statements.push_back((at, statement.to_ascii_lowercase()));
    }

    /// Where reading ahead has to begin, if the stream stands here.
    pub(super) fn begin(&mut self, here: &Track) -> Track {
        match &self.end {
            Some(end) if is_before(here, end) => end.clone(),
            _ => {
                *self = Self::default();
                here.clone()
            }
        }
    }

    /// The statement ahead that may alter this table: where it stands.
    pub(super) fn alters(&self, schema: &str, table: &str) -> Option<String> {
        if self.overflow {
            return Some("more statements than can be kept".into());
        }
        let found = self.statements.iter().find(|(_, text)| concerns(text, schema, table));
        found.map(|(at, _)| format!("{}:{}", at.file, at.next))
    }

    fn passed(&mut self, here: &Track) {
        while let Some((at, text)) = self.statements.front()
            && is_before(at, here)
        {
            self.bytes = self.bytes.saturating_sub(text.len());
            self.statements.pop_front();
        }
    }
}

fn is_before(a: &Track, b: &Track) -> bool {
    file_order(&a.file, &b.file).then(a.next.cmp(&b.next)).is_lt()
}

/// All but the verbs that certainly leave columns as they are.
fn may_alter(statement: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 12] = [
        b"TRUNCATE",
        b"ANALYZE",
        b"OPTIMIZE",
        b"FLUSH",
        b"GRANT",
        b"REVOKE",
        b"INSERT",
        b"UPDATE",
        b"DELETE",
        b"REPLACE",
        b"SAVEPOINT",
        b"XA",
    ];
    if matches!(Verb::of(statement), Verb::Begin | Verb::Commit | Verb::Rollback) {
        return false;
    }
    let [first, second] = first_words(statement);
    let is = |word: &[u8], any: &[&[u8]]| any.contains(&word);
    // A table that has rows is altered by no CREATE TABLE, unless it was dropped or renamed before,
    // which counts by itself. CREATE OR REPLACE has another second word.
    let creates = is(&first, &[b"CREATE"]) && is(&second, &[b"TABLE", b"DATABASE", b"SCHEMA"]);
    !creates && !is(&first, &HARMLESS)
}

/// Whether a lower-case statement may be about this table.
fn concerns(text: &[u8], schema: &str, table: &str) -> bool {
    let of_schema = has_word(text, b"database") || has_word(text, b"schema");
    says(text, table) || of_schema && says(text, schema)
}

/// Whether the name is in the text; yes for names that can be written in several ways, or in
/// another character set.
fn says(text: &[u8], name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_$-. #".contains(&byte);
    !name.bytes().all(plain) || has_word(text, name.to_ascii_lowercase().as_bytes())
}

/// Whether the word is in the text, and not as a part of a longer one.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$".contains(byte) || *byte > 127;
    text.windows(word.len().max(1)).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let behind = text.get(at + word.len());
        window == word && !before.is_some_and(of_word) && !behind.is_some_and(of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, next: u64) -> Track {
        Track { file: file.into(), next }
    }

    fn columns() -> Known {
        Known::Columns(Arc::from([ColumnInfo::default()]))
    }

    #[test]
    fn a_statement_that_names_a_table_ends_its_version() {
        for (statement, gone) in [
            ("ALTER TABLE `Orders` ADD x INT", true),
            ("/* x */ RENAME TABLE tmp TO orders", true),
            ("/* insert a column */ ALTER TABLE orders ADD x INT", true),
            ("-- create table\n# grant\nALTER TABLE orders ADD x INT", true),
            ("CREATE OR REPLACE TABLE orders SELECT 1 AS x", true),
            ("/*!50100 INSERT */ INTO orders VALUES (1)", false),
            ("DROP DATABASE shop", true),
            ("ALTER TABLE shop.customers ADD x INT", false),
            ("ALTER TABLE old_orders ADD x INT", false),
            ("TRUNCATE TABLE orders", false),
            ("CREATE TABLE IF NOT EXISTS orders (id INT)", false),
            ("create database if not exists shop", false),
            ("CREATE OR REPLACE TABLE orders (id INT)", true),
            ("CREATE UNIQUE INDEX i ON orders (id)", true),
            ("BEGIN", false),
        ] {
            let mut schemas = Schemas::default();
            schemas.learn("shop", "orders", columns());
            schemas.passed(&at("b.000001", 100), statement.as_bytes());
            assert_eq!(schemas.known("shop", "orders").is_none(), gone, "{statement}");
        }
    }

    #[test]
    fn what_could_not_be_proven_is_tried_again_when_reading_starts_over() {
        let mut schemas = Schemas::default();
        schemas.learn("shop", "orders", columns());
        schemas.learn("shop", "items", Known::Unprovable("the types differ".into()));
        schemas.try_again();
        assert!(schemas.known("shop", "orders").is_some());
        assert!(schemas.known("shop", "items").is_none());
    }

    #[test]
    fn an_alter_in_two_phases_counts_when_it_is_committed() {
        let mut schemas = Schemas::default();
        schemas.learn("shop", "orders", columns());
        schemas.alters_nothing = true;
        schemas.passed(&at("b.000001", 100), b"ALTER TABLE orders ADD x INT");
        assert!(schemas.known("shop", "orders").is_some());
        schemas.passed(&at("b.000001", 200), b"ALTER TABLE orders ADD x INT");
        assert!(schemas.known("shop", "orders").is_none());
    }

    #[test]
    fn a_name_that_can_be_written_otherwise_trusts_nothing() {
        assert!(concerns(b"alter table x add y int", "shop", "gr\u{f6}\u{df}e"));
        assert!(concerns(b"alter table x add y int", "shop", "a`b"));
    }

    #[test]
    fn what_is_ahead_is_forgotten_when_it_is_passed() {
        let mut schemas = Schemas::default();
        schemas.ahead.push(at("b.000001", 500), b"ALTER TABLE orders ADD x INT");
        schemas.ahead.push(at("b.000002", 10), b"ALTER TABLE items ADD x INT");
        schemas.ahead.end = Some(at("b.000002", 900));
        assert_eq!(schemas.ahead.alters("shop", "orders").as_deref(), Some("b.000001:500"));
        schemas.passed(&at("b.000002", 4), b"COMMIT");
        assert_eq!(schemas.ahead.alters("shop", "orders"), None);
        assert!(schemas.ahead.alters("shop", "items").is_some());
        // Reading ahead goes on where it ended, until the stream is there.
        assert_eq!(schemas.ahead.begin(&at("b.000002", 4)), at("b.000002", 900));
        assert_eq!(schemas.ahead.begin(&at("b.000002", 901)), at("b.000002", 901));
        assert_eq!(schemas.ahead.alters("shop", "items"), None);
    }

    #[test]
    fn too_much_ahead_proves_nothing() {
        let mut ahead = Ahead::default();
        ahead.push(at("b.000001", 5), &vec![b'x'; AHEAD_BYTES_MAX + 1]);
        assert!(ahead.alters("a", "b").is_some());
    }
}
