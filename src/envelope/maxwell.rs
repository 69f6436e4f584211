//! Maxwell's rows: one JSON object per change, as its `RowMap` writes them by default.
//!
//! ```json
//! {"database":"shop","table":"orders","type":"update","ts":1700000000,"xid":18,"commit":true,
//!  "data":{"id":7,"state":"paid"},"old":{"state":"new"}}
//! ```
//!
//! | column | JSON |
//! |---|---|
//! | integers, DECIMAL, FLOAT, DOUBLE, BIT, YEAR | number |
//! | CHAR, VARCHAR, TEXT, temporal types | string, as SELECT shows them in UTC |
//! | BINARY, VARBINARY, BLOB | base64 |
//! | ENUM | string; `null` for the empty error value |
//! | SET | array of strings |
//! | JSON | the document itself |
//! | GEOMETRY | WKT |
//! | VECTOR | array of numbers |
//!
//! It differs from Maxwell where Maxwell would say something else than the database: an unsigned integer never
//! turns negative, ENUM and SET without known members are their number, text that cannot be decoded is base64 of its
//! bytes, and so is a geometry that is none. What is not in the row image is left out. Differences of JSON whose
//! document is not in the log are `{"json_diff": […]}`, as in [`super::debezium`].

use super::json::{base64, push_json_string, push_signed, push_unsigned};
use super::{Change, Diffed, EnvelopeError, apply_json, is_changed, object, wkt};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::Column;
use crate::binlog::value::{
    self, Json, Value, ValueError, push_double, push_float, push_members, render_text,
    vector_floats,
};

/// Where a row stands in its transaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The storage engine's number of the transaction, where the log has one.
    pub xid: Option<u64>,
    /// The row's index among all rows of the transaction, from 0.
    pub row: u64,
    /// Whether it is the transaction's last row.
    pub last: bool,
}

/// Writes changes as Maxwell does.
#[derive(Debug, Default)]
pub struct Maxwell {
    scratch: Vec<u8>,
}

impl Maxwell {
    /// A writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one change, without a line's end.
    ///
    /// # Errors
    /// When a value is not one of its column's type; `out` is then as it was.
    pub fn write(
        &mut self,
        change: &Change<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let start = out.len();
        let written = self.row(change, place, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn row(
        &mut self,
        change: &Change<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        out.extend_from_slice(b"{\"database\":");
        push_json_string(change.table.schema.as_bytes(), out);
        out.extend_from_slice(b",\"table\":");
        push_json_string(change.table.name.as_bytes(), out);
        out.extend_from_slice(match change.operation {
            Operation::Insert => b",\"type\":\"insert\",\"ts\":",
            Operation::Update => b",\"type\":\"update\",\"ts\":",
            Operation::Delete => b",\"type\":\"delete\",\"ts\":",
        });
        push_unsigned(change.changed_us / 1_000_000, out);
        if let Some(xid) = place.xid {
            out.extend_from_slice(b",\"xid\":");
            push_unsigned(xid, out);
        }
        if place.last {
            out.extend_from_slice(b",\"commit\":true");
        } else {
            out.extend_from_slice(b",\"xoffset\":");
            push_unsigned(place.row, out);
        }
        out.extend_from_slice(b",\"data\":");
        match change.operation {
            Operation::Delete => self.cells(change, change.before, None, |_, _| true, out)?,
            Operation::Insert => self.cells(change, change.after, None, |_, _| true, out)?,
            Operation::Update => {
                let (before, after) = (change.before, change.after);
                self.cells(change, after, before, |_, _| true, out)?;
                out.extend_from_slice(b",\"old\":");
                let old = |index: usize, cell: Cell<'_>| is_changed(cell, after, index);
                self.cells(change, before, None, old, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn cells(
        &mut self,
        change: &Change<'_>,
        cells: Option<&[Cell<'_>]>,
        before: Option<&[Cell<'_>]>,
        wanted: impl Fn(usize, Cell<'_>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let Some(cells) = cells else {
            out.extend_from_slice(b"{}");
            return Ok(());
        };
        object(change.table, cells, wanted, out, |index, column, cell, out| match cell {
            Cell::Value(bytes) => self.value(column, bytes, out),
            Cell::JsonDiff(diffs) => {
                let before = before.and_then(|cells| cells.get(index)).copied();
                self.json_diff(before, diffs, out)
            }
            Cell::Null | Cell::Absent => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        })
    }

    fn json_diff(
        &mut self,
        before: Option<Cell<'_>>,
        diffs: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        self.scratch.clear();
        let diffed = apply_json(before, diffs, &mut self.scratch)?;
        if let Diffed::Differences = diffed {
            out.extend_from_slice(b"{\"json_diff\":");
        }
        out.extend_from_slice(&self.scratch);
        if let Diffed::Differences = diffed {
            out.push(b'}');
        }
        Ok(())
    }

    fn value(
        &mut self,
        column: &Column,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let value = value::decode(column, bytes)?;
        let unreal = ValueError { what: "not a finite number", length: bytes.len() };
        match &value {
            Value::Int(number) | Value::SignUnknown { signed: number, .. } => {
                push_signed(*number, out);
            }
            Value::UInt(number) | Value::Bit { value: number, .. } => push_unsigned(*number, out),
            Value::Year(year) => push_unsigned((*year).into(), out),
            Value::Float(number) if number.is_finite() => {
                push_float(*number, true, out);
            }
            Value::Double(number) if number.is_finite() => {
                push_double(*number, true, out);
            }
            Value::Float(_) | Value::Double(_) => return Err(unreal),
            Value::Decimal(decimal) => decimal.push_text(out),
            Value::Date(_)
            | Value::Time(_)
            | Value::DateTime(_)
            | Value::Timestamp { .. }
            | Value::Uuid(_)
            | Value::Inet4(_)
            | Value::Inet6(_) => {
                out.push(b'"');
                render_text(&value, out)?;
                out.push(b'"');
            }
            Value::Text(text) => push_json_string(text.as_bytes(), out),
            Value::Bytes(bytes, _) => base64(bytes, out),
            Value::Padded { bytes, zeros } => {
                self.scratch.clear();
                self.scratch.extend_from_slice(bytes);
                self.scratch.resize(bytes.len() + usize::from(*zeros), 0);
                base64(&self.scratch, out);
            }
            Value::Enum { index: 0, .. } => out.extend_from_slice(b"null"),
            Value::Enum { index, label: None } => push_unsigned((*index).into(), out),
            Value::Enum { label: Some(label), .. } => push_json_string(label.as_bytes(), out),
            Value::Set { bits, labels, collation } => {
                self.scratch.clear();
                if push_members(*bits, labels, *collation, &mut self.scratch) {
                    members(&self.scratch, out);
                } else {
                    push_unsigned(*bits, out);
                }
            }
            Value::Json(Json::Text(text)) => out.extend_from_slice(text.as_bytes()),
            Value::Json(Json::Binary(_)) => render_text(&value, out)?,
            Value::Geometry { wkb, .. } => {
                self.scratch.clear();
                match wkt::push(wkb, &mut self.scratch) {
                    Some(()) => push_json_string(&self.scratch, out),
                    None => base64(wkb, out),
                }
            }
            Value::Vector(bytes) => {
                if vector_floats(bytes).any(|number| !number.is_finite()) {
                    return Err(unreal);
                }
                render_text(&value, out)?;
            }
        }
        Ok(())
    }
}

/// The members of a SET, which cannot hold a comma.
fn members(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    if !text.is_empty() {
        for (index, member) in text.split(|byte| *byte == b',').enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_json_string(member, out);
        }
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::super::tests::{column, orders, update};
    use super::*;
    use crate::binlog::table::Kind;

    fn json(column: &Column, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Maxwell::new().value(column, bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_has_maxwells_fields_in_maxwells_order() {
        let (table, mut out) = (orders(), Vec::new());
        let place = Place { xid: Some(18), row: 3, last: true };
        update(&table, |change| Maxwell::new().write(change, place, &mut out).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"database":"shop","table":"orders","type":"update","ts":1700000000,"xid":18,"commit":true,"#
                .to_owned()
                + r#""data":{"id":7,"note":"\"é\"\n","at":"2020-02-01 03:03:05"},"old":{"note":null}}"#
        );
    }

    #[test]
    fn all_but_the_last_row_of_a_transaction_tell_their_number() {
        let (table, mut out) = (orders(), Vec::new());
        let place = Place { xid: None, row: 3, last: false };
        update(&table, |change| Maxwell::new().write(change, place, &mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""ts":1700000000,"xoffset":3,"data":"#), "{text}");
    }

    #[test]
    fn values_are_numbers_lists_and_documents_where_they_are() {
        assert_eq!(json(&column(Kind::NewDecimal, 5 | 2 << 8), &[0x80, 1, 28]), "1.28");
        assert_eq!(json(&column(Kind::Bit, 1 | 1 << 8), &[1, 2]), "258");
        assert_eq!(json(&column(Kind::Date, 0), &[0, 0, 0]), "\"0000-00-00\"");
        let labels = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let set = Column { labels: labels.clone(), ..column(Kind::Set, 1) };
        assert_eq!(json(&set, &[5]), r#"["a","c"]"#);
        assert_eq!(json(&set, &[0]), "[]");
        let one = Column { labels, ..column(Kind::Enum, 1) };
        assert_eq!((json(&one, &[2]), json(&one, &[0])), (r#""b""#.to_owned(), "null".to_owned()));
        let bytes = Column { collation: Some(63), ..column(Kind::Varchar, 40) };
        assert_eq!(json(&bytes, b"\xff\x00"), "\"/wA=\"");
    }

    #[test]
    fn a_geometry_is_well_known_text_or_its_bytes() {
        let mut point = vec![0, 0, 0, 0, 1, 1, 0, 0, 0];
        point.extend(1.5_f64.to_le_bytes());
        point.extend((-2.0_f64).to_le_bytes());
        assert_eq!(json(&column(Kind::Geometry, 4), &point), "\"POINT (1.5 -2)\"");
        assert_eq!(json(&column(Kind::Geometry, 4), &point[..20]), "\"AQEAAAAAAAAAAAD4PwAAAA==\"");
    }
}
