//! Changes for people: the manner of `mysqlbinlog -v`, with names where they are known and values as
//! `SELECT` prints them.
//!
//! ```text
//! # binlog.000001:1337 row 0
//! ### UPDATE `shop`.`orders`
//! ### WHERE
//! ###   `id`=7
//! ###   `state`='new'
//! ### SET
//! ###   `state`='paid'
//! ```
//!
//! An integer whose sign the log does not say is printed both ways: `-1 (255)`.

use super::json::push;
use super::{Change, EnvelopeError, image};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Names, Table};
use crate::binlog::value::{self, Json, Value, ValueError, Why, push_members, render_text};

/// Writes changes as lines for people.
#[derive(Debug, Default)]
pub struct Text {
    scratch: Vec<u8>,
}

impl Text {
    /// A writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one change, without the last line's end.
    ///
    /// # Errors
    /// When a value is not one of its column's type; `out` is then as it was.
    pub fn write(&mut self, change: &Change<'_>, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let start = out.len();
        let written = self.change(change, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn change(&mut self, change: &Change<'_>, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let Change { table, file, offset, row, .. } = change;
        let verb = match change.operation {
            Operation::Insert => "INSERT INTO",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE FROM",
        };
        let (schema, name) = (quoted(&table.schema), quoted(&table.name));
        push(out, format_args!("# {file}:{offset} row {row}\n### {verb} {schema}.{name}"));
        for (title, cells) in [("WHERE", change.before), ("SET", change.after)] {
            if let Some(cells) = cells {
                push(out, format_args!("\n### {title}"));
                self.image(table, cells, out)?;
            }
        }
        Ok(())
    }

    fn image(
        &mut self,
        table: &Table,
        cells: &[Cell<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        for (index, column, cell) in image(table, cells)? {
            if cell == Cell::Absent {
                continue;
            }
            match table.names {
                Names::Unknown => push(out, format_args!("\n###   @{}=", index + 1)),
                Names::Log | Names::Server => {
                    push(out, format_args!("\n###   {}=", quoted(&column.name)));
                }
            }
            match cell {
                Cell::Value(bytes) => self
                    .value(column, bytes, out)
                    .map_err(|error| EnvelopeError { column: column.name.clone(), error })?,
                Cell::Null | Cell::Absent => out.extend_from_slice(b"NULL"),
            }
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
        match &value {
            Value::SignUnknown { signed, unsigned } => {
                push(out, format_args!("{signed} ({unsigned})"));
            }
            Value::Bit { bits, value } => {
                push(out, format_args!("b'{value:0width$b}'", width = usize::from(*bits)));
            }
            Value::Text(text) | Value::Json(Json::Text(text)) => literal(text.as_bytes(), out),
            Value::Bytes(bytes, Why::CharsetUnknown) => literal(bytes, out),
            Value::Set { bits, labels, collation } => {
                self.scratch.clear();
                if push_members(*bits, labels, *collation, &mut self.scratch) {
                    literal(&self.scratch, out);
                } else {
                    push(out, bits);
                }
            }
            Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Decimal(_)
            | Value::Year(_)
            | Value::Bytes(..)
            | Value::Padded { .. }
            | Value::Geometry { .. }
            | Value::Vector(_)
            | Value::Enum { label: None, .. } => {
                render_text(&value, out)?;
            }
            Value::Date(_)
            | Value::Time(_)
            | Value::DateTime(_)
            | Value::Timestamp { .. }
            | Value::Enum { .. }
            | Value::Json(_)
            | Value::Uuid(_)
            | Value::Inet4(_)
            | Value::Inet6(_) => {
                self.render(&value)?;
                literal(&self.scratch, out);
            }
        }
        Ok(())
    }

    fn render(&mut self, value: &Value<'_>) -> Result<(), ValueError> {
        self.scratch.clear();
        render_text(value, &mut self.scratch)
    }
}

/// A name in backquotes, with those inside doubled.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Text in quotes; what would break the line, the quotes or UTF-8 is written as `\xNN`.
fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for chunk in bytes.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                0..0x20 | b'\'' | b'\\' | 0x7F => push(out, format_args!("\\x{byte:02x}")),
                _ => out.push(byte),
            }
        }
        chunk.invalid().iter().for_each(|byte| push(out, format_args!("\\x{byte:02x}")));
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::table::Kind;

    #[test]
    fn an_update_reads_like_mysqlbinlogs() {
        let id = Column { name: "id".to_owned(), kind: Kind::Tiny, ..Column::default() };
        let name = Column {
            name: "n`".to_owned(),
            kind: Kind::Varchar,
            meta: 40,
            collation: Some(255),
            ..Column::default()
        };
        let mut table = Table {
            schema: "d".to_owned(),
            name: "t".to_owned(),
            columns: vec![id, name],
            names: Names::Log,
            ..Table::default()
        };
        let before = [Cell::Value(&[0xFF]), Cell::Null];
        let after = [Cell::Absent, Cell::Value("it's é\n".as_bytes())];
        let render = |table: &Table| {
            let change = Change {
                connector: "mysql",
                source: "s",
                table,
                operation: Operation::Update,
                before: Some(&before),
                after: Some(&after),
                file: "binlog.000001",
                offset: 1337,
                row: 0,
                gtid: None,
                server_id: 1,
                thread: None,
                changed_us: 0,
                rendered_us: 0,
            };
            let mut out = Vec::new();
            Text::new().write(&change, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            render(&table),
            "# binlog.000001:1337 row 0\n### UPDATE `d`.`t`\n### WHERE\n###   `id`=-1 (255)\n\
             ###   `n```=NULL\n### SET\n###   `n```='it\\x27s é\\x0a'"
        );
        table.names = Names::Unknown;
        assert!(render(&table).contains("\n###   @1=-1 (255)\n###   @2=NULL\n"));
    }
}
