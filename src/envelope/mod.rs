//! Changes, written the way that other tools already read them.
//!
//! | file | form |
//! |---|---|
//! | [`debezium`] | Debezium's change event, one JSON object a line |
//! | [`text`] | for people, in the manner of `mysqlbinlog -v` |

pub mod debezium;
mod json;
pub mod text;

use std::fmt;

use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Meaning, Table};
use crate::binlog::value::{ValueError, json_diff};
use crate::position::Gtid;

/// One row's change with all that an envelope may say of it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// `mysql` or `mariadb`: what parsers of Debezium's JSON switch on.
    pub connector: &'a str,
    /// The logical name of the source: Debezium's topic prefix, Rivulet's agent.
    pub source: &'a str,
    /// The schema that the row was written with.
    pub table: &'a Table,
    /// What happened.
    pub operation: Operation,
    /// The row before: updates and deletes.
    pub before: Option<&'a [Cell<'a>]>,
    /// The row after: inserts and updates.
    pub after: Option<&'a [Cell<'a>]>,
    /// The binlog file of the rows event.
    pub file: &'a str,
    /// Where the rows event starts in it, in bytes.
    pub offset: u64,
    /// The row's index among the rows of its transaction that share the offset, from 0.
    pub row: u32,
    /// The transaction, where the server has GTIDs.
    pub gtid: Option<&'a Gtid>,
    /// The server_id in the event's header.
    pub server_id: u32,
    /// The session that wrote it, where the log says so.
    pub thread: Option<u32>,
    /// When the change was made, microseconds since 1970 in UTC; whole seconds where the log has no more.
    pub changed_us: u64,
    /// When Rivulet rendered it, microseconds since 1970 in UTC.
    pub rendered_us: u64,
}

/// A value that cannot be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvelopeError {
    /// The column.
    pub column: String,
    /// What is wrong with its value.
    pub error: ValueError,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column `{}`: {}", self.column, self.error)
    }
}

impl std::error::Error for EnvelopeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What a list of differences of JSON comes to.
enum Diffed {
    /// The whole document.
    Document,
    /// The differences themselves, as `json_diff::describe` has them: the row image has not what they
    /// differ from.
    Differences,
}

/// Appends the document that a list of differences makes of the before image's; without one, the list.
fn apply_json(
    before: Option<Cell<'_>>,
    diffs: &[u8],
    out: &mut Vec<u8>,
) -> Result<Diffed, ValueError> {
    match before {
        Some(Cell::Value(document)) => {
            json_diff::apply(document, diffs, out).map(|()| Diffed::Document)
        }
        Some(Cell::Absent) | None => json_diff::describe(diffs, out).map(|()| Diffed::Differences),
        Some(Cell::Null | Cell::JsonDiff(_)) => {
            let what = "JSON: differences from what is no document";
            Err(ValueError { what, length: diffs.len() })
        }
    }
}

/// Pairs the cells of an image with their columns, those that a statement can see.
fn image<'t, 'c>(
    table: &'t Table,
    cells: &'c [Cell<'c>],
) -> Result<impl Iterator<Item = (usize, &'t Column, Cell<'c>)>, EnvelopeError> {
    if cells.len() != table.columns.len() {
        let what = "the row has another number of columns than the table";
        let error = ValueError { what, length: cells.len() };
        return Err(EnvelopeError { column: "*".to_owned(), error });
    }
    let pairs = table.columns.iter().zip(cells).enumerate();
    let pairs = pairs.filter(|(_, (column, _))| column.meaning != Meaning::Hidden);
    Ok(pairs.map(|(index, (column, cell))| (index, column, *cell)))
}
