//! Changes, written the way that other tools already read them.
//!
//! | file | form |
//! |---|---|
//! | [`debezium`] | Debezium's change event, one JSON object a line |
//! | [`maxwell`] | Maxwell's row, one JSON object a line |
//! | [`canal`] | Canal's `FlatMessage`, one JSON object for the rows of an event |
//! | [`text`] | for people, in the manner of `mysqlbinlog -v` |

pub mod canal;
pub mod debezium;
mod json;
pub mod maxwell;
pub mod text;
mod wkt;

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

/// Whether an update changed the column: what it was is in the log, and what it is says something else.
fn is_changed(before: Cell<'_>, after: Option<&[Cell<'_>]>, index: usize) -> bool {
    let after = after.and_then(|cells| cells.get(index)).copied().unwrap_or(Cell::Absent);
    after != Cell::Absent && after != before
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

/// Appends a JSON object with a member for each wanted column that is in the image; `each` appends its value.
fn object(
    table: &Table,
    cells: &[Cell<'_>],
    wanted: impl Fn(usize, Cell<'_>) -> bool,
    out: &mut Vec<u8>,
    mut each: impl FnMut(usize, &Column, Cell<'_>, &mut Vec<u8>) -> Result<(), ValueError>,
) -> Result<(), EnvelopeError> {
    out.push(b'{');
    let mut first = true;
    for (index, column, cell) in image(table, cells)? {
        if cell == Cell::Absent || !wanted(index, cell) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        json::push_json_string(column.name.as_bytes(), out);
        out.push(b':');
        each(index, column, cell, out)
            .map_err(|error| EnvelopeError { column: column.name.clone(), error })?;
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::table::Kind;

    pub(super) fn column(kind: Kind, meta: u16) -> Column {
        Column { name: "c".to_owned(), kind, meta, nullable: true, ..Column::default() }
    }

    /// A table of three columns, the first of which is its key.
    pub(super) fn orders() -> Table {
        let name = |name: &str, column: Column| Column { name: name.to_owned(), ..column };
        Table {
            schema: "shop".to_owned(),
            name: "orders".to_owned(),
            columns: vec![
                name("id", column(Kind::Long, 0)),
                name("note", Column { collation: Some(255), ..column(Kind::Varchar, 40) }),
                name("at", column(Kind::DateTime2, 0)),
            ],
            primary_key: vec![0],
            ..Table::default()
        }
    }

    /// One of its rows changes.
    pub(super) fn update(table: &Table, take: impl FnOnce(&Change<'_>)) {
        let at = [0x99, 0xA5, 0x82, 0x30, 0xC5];
        let before = [Cell::Value(&[7, 0, 0, 0]), Cell::Null, Cell::Absent];
        let after =
            [Cell::Value(&[7, 0, 0, 0]), Cell::Value("\"é\"\n".as_bytes()), Cell::Value(&at)];
        let gtid = "0-1-2".parse().unwrap();
        take(&Change {
            connector: "mariadb",
            source: "press-7",
            table,
            operation: Operation::Update,
            before: Some(&before),
            after: Some(&after),
            file: "binlog.000001",
            offset: 1337,
            row: 2,
            gtid: Some(&gtid),
            server_id: 9,
            thread: None,
            changed_us: 1_700_000_000_123_456,
            rendered_us: 1_700_000_001_000_000,
        });
    }
}
