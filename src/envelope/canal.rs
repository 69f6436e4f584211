//! Canal's `FlatMessage`: one JSON object for all rows of a rows event, members in alphabetical order as its
//! serializer has them.
//!
//! ```json
//! {"data":[{"id":"7","state":"paid"}],"database":"shop","es":1700000000000,"gtid":"","id":1,"isDdl":false,
//!  "mysqlType":{"id":"int","state":"enum('new','paid')"},"old":[{"state":"new"}],"pkNames":["id"],"sql":"",
//!  "sqlType":{"id":4,"state":4},"table":"orders","ts":1700000000123,"type":"UPDATE"}
//! ```
//!
//! Every value is a string, as SELECT shows it in UTC, or `null`; bytes are read as ISO 8859-1. `sqlType` is that of
//! `java.sql.Types`, for unsigned integers one step wider. `mysqlType` is what the log tells of the column: without
//! an integer's display width, and a length in bytes where the characters' width is not known.
//!
//! It differs from Canal where Canal would say something else than the database: `old` holds of each row what
//! changed in that row, where Canal names what changed in any row of the event. What is not in the row image is left
//! out.

use super::json::{push, push_json_string, push_unsigned};
use super::{Change, EnvelopeError, apply_json, is_changed, object};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::binlog::value::{self, Charset, Value, ValueError, push_members, render_text};

/// Writes the rows of one event after the other.
#[derive(Debug, Default)]
pub struct Canal {
    /// The rows of the message, and what they were: lists without their brackets.
    data: Vec<u8>,
    old: Vec<u8>,
    /// What follows the rows, with a gap for the message's number.
    between: Vec<u8>,
    behind: Vec<u8>,
    scratch: Vec<u8>,
}

impl Canal {
    /// A writer with no rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row to the message; all of its rows are of one event.
    ///
    /// # Errors
    /// When a value is not one of its column's type; the row is then left out.
    pub fn add(&mut self, change: &Change<'_>) -> Result<(), EnvelopeError> {
        if self.data.is_empty() {
            self.frame(change)?;
        }
        let lengths = [self.data.len(), self.old.len()];
        let (mut data, mut old) = (std::mem::take(&mut self.data), std::mem::take(&mut self.old));
        let added = self.row(change, &mut data, &mut old);
        if added.is_err() {
            data.truncate(lengths[0]);
            old.truncate(lengths[1]);
        }
        (self.data, self.old) = (data, old);
        added
    }

    fn row(
        &mut self,
        change: &Change<'_>,
        data: &mut Vec<u8>,
        old: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        if !data.is_empty() {
            data.push(b',');
        }
        match change.operation {
            Operation::Insert => self.cells(change.table, change.after, None, |_, _| true, data),
            Operation::Delete => self.cells(change.table, change.before, None, |_, _| true, data),
            Operation::Update => {
                let (before, after) = (change.before, change.after);
                self.cells(change.table, after, before, |_, _| true, data)?;
                if !old.is_empty() {
                    old.push(b',');
                }
                let changed = |index: usize, cell: Cell<'_>| is_changed(cell, after, index);
                self.cells(change.table, before, None, changed, old)
            }
        }
    }

    /// Appends the message, without a line's end, and begins the next. Nothing if no row was added.
    pub fn finish(&mut self, id: u64, out: &mut Vec<u8>) {
        if self.data.is_empty() {
            return;
        }
        out.extend_from_slice(b"{\"data\":[");
        out.append(&mut self.data);
        out.push(b']');
        out.append(&mut self.between);
        push_unsigned(id, out);
        out.extend_from_slice(b",\"isDdl\":false");
        let old = self.behind.iter().position(|byte| *byte == b'\0').unwrap_or(0);
        let (types, rest) = self.behind.split_at(old);
        out.extend_from_slice(types);
        if self.old.is_empty() {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'[');
            out.append(&mut self.old);
            out.push(b']');
        }
        out.extend_from_slice(rest.get(1..).unwrap_or_default());
        self.behind.clear();
    }

    /// What the message says of all of its rows.
    fn frame(&mut self, change: &Change<'_>) -> Result<(), EnvelopeError> {
        let table = change.table;
        let Self { between, behind, .. } = self;
        between.clear();
        behind.clear();
        between.extend_from_slice(b",\"database\":");
        push_json_string(table.schema.as_bytes(), between);
        between.extend_from_slice(b",\"es\":");
        push_unsigned(change.changed_us / 1000, between);
        match change.gtid {
            Some(gtid) => push(between, format_args!(",\"gtid\":\"{gtid}\"")),
            None => between.extend_from_slice(b",\"gtid\":\"\""),
        }
        between.extend_from_slice(b",\"id\":");
        behind.extend_from_slice(b",\"mysqlType\":");
        let cells = change.after.or(change.before).unwrap_or_default();
        members(table, cells, behind, |column, out| {
            let mut text = Vec::new();
            mysql_type(column, &mut text);
            push_json_string(&text, out);
        })?;
        behind.extend_from_slice(b",\"old\":\0,\"pkNames\":");
        let name = |index: &u16| table.columns.get(usize::from(*index));
        let names = table.primary_key.iter().filter_map(name);
        for (index, column) in names.enumerate() {
            behind.push(if index == 0 { b'[' } else { b',' });
            push_json_string(column.name.as_bytes(), behind);
        }
        let has_key = !table.primary_key.is_empty();
        behind.extend_from_slice(if has_key { b"]" } else { b"null" });
        behind.extend_from_slice(b",\"sql\":\"\",\"sqlType\":");
        members(table, cells, behind, |column, out| push(out, sql_type(column)))?;
        behind.extend_from_slice(b",\"table\":");
        push_json_string(table.name.as_bytes(), behind);
        behind.extend_from_slice(b",\"ts\":");
        push_unsigned(change.rendered_us / 1000, behind);
        behind.extend_from_slice(match change.operation {
            Operation::Insert => b",\"type\":\"INSERT\"}",
            Operation::Update => b",\"type\":\"UPDATE\"}",
            Operation::Delete => b",\"type\":\"DELETE\"}",
        });
        Ok(())
    }

    fn cells(
        &mut self,
        table: &Table,
        cells: Option<&[Cell<'_>]>,
        before: Option<&[Cell<'_>]>,
        wanted: impl Fn(usize, Cell<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let Some(cells) = cells else {
            out.extend_from_slice(b"{}");
            return Ok(());
        };
        object(table, cells, wanted, out, |index, column, cell, out| {
            self.scratch.clear();
            match cell {
                Cell::Value(bytes) => text(column, bytes, &mut self.scratch)?,
                Cell::JsonDiff(diffs) => {
                    let before = before.and_then(|cells| cells.get(index)).copied();
                    apply_json(before, diffs, &mut self.scratch).map(drop)?;
                }
                Cell::Null | Cell::Absent => {
                    out.extend_from_slice(b"null");
                    return Ok(());
                }
            }
            push_json_string(&self.scratch, out);
            Ok(())
        })
    }
}

/// An object with a member for each column that is in a row image.
fn members(
    table: &Table,
    cells: &[Cell<'_>],
    out: &mut Vec<u8>,
    each: impl Fn(&Column, &mut Vec<u8>),
) -> Result<(), EnvelopeError> {
    object(
        table,
        cells,
        |_, _| true,
        out,
        |_, column, _, out| {
            each(column, out);
            Ok(())
        },
    )
}

fn text(column: &Column, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let value = value::decode(column, bytes)?;
    match &value {
        Value::Bytes(bytes, _) => latin1(bytes, out),
        Value::Padded { bytes, zeros } => {
            latin1(bytes, out);
            out.resize(out.len() + usize::from(*zeros), 0);
        }
        Value::Geometry { .. } | Value::Vector(_) => latin1(bytes, out),
        Value::Set { bits, labels, collation } => {
            if !push_members(*bits, labels, *collation, out) {
                push_unsigned(*bits, out);
            }
        }
        value => render_text(value, out)?,
    }
    Ok(())
}

/// Bytes as ISO 8859-1, in UTF-8.
fn latin1(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(char::from(*byte).encode_utf8(&mut [0; 2]).as_bytes());
    }
}

/// As `java.sql.Types` numbers them, by Canal's `mysqlToJavaType`.
fn sql_type(column: &Column) -> i32 {
    let unsigned = column.unsigned == Some(true);
    let binary = column.collation == Some(BINARY);
    match column.kind {
        Kind::Tiny if unsigned => SMALLINT,
        Kind::Tiny => -6,
        Kind::Short if unsigned => INTEGER,
        Kind::Short => SMALLINT,
        Kind::Long if unsigned => BIGINT,
        Kind::Long | Kind::Int24 | Kind::Enum => INTEGER,
        Kind::LongLong if unsigned => DECIMAL,
        Kind::LongLong => BIGINT,
        Kind::Float => 7,
        Kind::Double => 8,
        Kind::NewDecimal | Kind::OldDecimal => DECIMAL,
        Kind::Null => 0,
        Kind::Date | Kind::NewDate => 91,
        Kind::Time | Kind::Time2 => 92,
        Kind::Timestamp | Kind::Timestamp2 | Kind::DateTime | Kind::DateTime2 => 93,
        Kind::Bit | Kind::Set => -7,
        Kind::Year | Kind::Json => VARCHAR,
        Kind::Varchar | Kind::VarString | Kind::VarcharCompressed if binary => -3,
        Kind::Varchar | Kind::VarString | Kind::VarcharCompressed => VARCHAR,
        Kind::String if binary => -2,
        Kind::String => 1,
        Kind::Blob | Kind::TinyBlob | Kind::MediumBlob | Kind::LongBlob | Kind::BlobCompressed => {
            if binary || column.collation.is_none() {
                2004
            } else {
                2005
            }
        }
        Kind::Geometry | Kind::Vector => -2,
    }
}

const BIGINT: i32 = -5;
const DECIMAL: i32 = 3;
const INTEGER: i32 = 4;
const SMALLINT: i32 = 5;
const VARCHAR: i32 = 12;
/// The collation of bytes.
const BINARY: u16 = 63;

/// The type as the log tells it.
fn mysql_type(column: &Column, out: &mut Vec<u8>) {
    let binary = column.collation == Some(BINARY);
    let [low, high] = column.meta.to_le_bytes();
    let fraction = |name: &str, out: &mut Vec<u8>| match low {
        0 => out.extend_from_slice(name.as_bytes()),
        digits => push(out, format_args!("{name}({digits})")),
    };
    let of_length = |bytes_of: &str, text_of: &str, out: &mut Vec<u8>| {
        let name = if binary { bytes_of } else { text_of };
        push(out, format_args!("{name}({})", column.meta / width(column)));
    };
    let plain = match column.kind {
        Kind::Tiny => "tinyint",
        Kind::Short => "smallint",
        Kind::Int24 => "mediumint",
        Kind::Long => "int",
        Kind::LongLong => "bigint",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::Date | Kind::NewDate => "date",
        Kind::Year => "year",
        Kind::Json => "json",
        Kind::Geometry => "geometry",
        Kind::Vector => "vector",
        Kind::Null => "null",
        Kind::Time => "time",
        Kind::Timestamp => "timestamp",
        Kind::DateTime => "datetime",
        Kind::Time2 => return fraction("time", out),
        Kind::Timestamp2 => return fraction("timestamp", out),
        Kind::DateTime2 => return fraction("datetime", out),
        Kind::NewDecimal | Kind::OldDecimal => {
            return push(out, format_args!("decimal({low},{high})"));
        }
        Kind::Bit => {
            return push(out, format_args!("bit({})", u16::from(high) * 8 + u16::from(low)));
        }
        Kind::Enum | Kind::Set => {
            let name = if column.kind == Kind::Enum { "enum(" } else { "set(" };
            out.extend_from_slice(name.as_bytes());
            for (index, label) in column.labels.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                push(out, format_args!("{comma}'{}'", label.replace('\'', "''")));
            }
            return out.push(b')');
        }
        Kind::Varchar | Kind::VarString | Kind::VarcharCompressed => {
            return of_length("varbinary", "varchar", out);
        }
        Kind::String => return of_length("binary", "char", out),
        Kind::Blob | Kind::TinyBlob | Kind::MediumBlob | Kind::LongBlob | Kind::BlobCompressed => {
            let size = ["tiny", "", "medium", "long"];
            let size = size.get(usize::from(low).wrapping_sub(1)).copied().unwrap_or_default();
            let name = if binary || column.collation.is_none() { "blob" } else { "text" };
            return push(out, format_args!("{size}{name}"));
        }
    };
    out.extend_from_slice(plain.as_bytes());
    if column.unsigned == Some(true) {
        out.extend_from_slice(b" unsigned");
    }
}

/// The most bytes that a character takes, where that is known.
fn width(column: &Column) -> u16 {
    match column.collation.and_then(Charset::of_collation) {
        Some(Charset::Utf8mb4 | Charset::Utf16 | Charset::Utf16le | Charset::Utf32) => 4,
        Some(Charset::Utf8mb3) => 3,
        Some(Charset::Ucs2) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{column, orders, update};
    use super::*;

    #[test]
    fn a_message_has_canals_members_in_canals_order() {
        let (table, mut canal, mut out) = (orders(), Canal::new(), Vec::new());
        update(&table, |change| canal.add(change).unwrap());
        update(&table, |change| canal.add(change).unwrap());
        canal.finish(5, &mut out);
        let row = r#"{"id":"7","note":"\"é\"\n","at":"2020-02-01 03:03:05"}"#;
        let wanted = format!(
            "{{\"data\":[{row},{row}],\"database\":\"shop\",\"es\":1700000000123,\"gtid\":\"0-1-2\",\"id\":5,\
             \"isDdl\":false,\"mysqlType\":{{\"id\":\"int\",\"note\":\"varchar(10)\",\"at\":\"datetime\"}},\
             \"old\":[{{\"note\":null}},{{\"note\":null}}],\"pkNames\":[\"id\"],\"sql\":\"\",\
             \"sqlType\":{{\"id\":4,\"note\":12,\"at\":93}},\"table\":\"orders\",\"ts\":1700000001000,\
             \"type\":\"UPDATE\"}}"
        );
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn a_message_without_rows_is_none_and_the_next_begins_anew() {
        let (table, mut canal, mut out) = (orders(), Canal::new(), Vec::new());
        canal.finish(1, &mut out);
        assert!(out.is_empty());
        for id in 2..4 {
            out.clear();
            update(&table, |change| canal.add(change).unwrap());
            canal.finish(id, &mut out);
            assert_eq!(String::from_utf8_lossy(&out).matches("\"state\"").count(), 0);
            assert_eq!(String::from_utf8_lossy(&out).matches("\"at\":\"2020").count(), 1);
        }
    }

    #[test]
    fn a_row_that_cannot_be_written_leaves_nothing() {
        let (table, mut canal, mut out) = (orders(), Canal::new(), Vec::new());
        update(&table, |change| canal.add(change).unwrap());
        let bad = [Cell::Value(&[7]), Cell::Null, Cell::Null];
        update(&table, |change| {
            canal.add(&Change { after: Some(&bad), ..*change }).unwrap_err();
        });
        canal.finish(1, &mut out);
        assert!(String::from_utf8(out).unwrap().contains("}],\"database\""));
    }

    #[test]
    fn types_are_one_step_wider_if_they_are_unsigned() {
        let unsigned = |kind| Column { unsigned: Some(true), ..column(kind, 0) };
        let mut text = Vec::new();
        mysql_type(&unsigned(Kind::LongLong), &mut text);
        assert_eq!(text, b"bigint unsigned");
        let types = [Kind::Tiny, Kind::Short, Kind::Long, Kind::LongLong].map(|kind| {
            let Column { kind, .. } = column(kind, 0);
            [sql_type(&column(kind, 0)), sql_type(&unsigned(kind))]
        });
        assert_eq!(types, [[-6, 5], [5, 4], [4, -5], [-5, 3]]);
    }

    #[test]
    fn bytes_are_latin1() {
        let bytes = Column { collation: Some(63), ..column(Kind::Varchar, 40) };
        let mut out = Vec::new();
        text(&bytes, b"a\xff\x00", &mut out).unwrap();
        assert_eq!(out, "aÿ\0".as_bytes());
    }
}
