//! Debezium's change event: one JSON object per change, as with `schemas.enable=false`.
//!
//! Field order, names and value types are those of Debezium 3 (`SchemaFactory`,
//! `BinlogSourceInfoStructMaker`, and the connector's "Data type mappings") with their default settings:
//!
//! | column | JSON |
//! |---|---|
//! | integers, YEAR, FLOAT, DOUBLE | number |
//! | DECIMAL | base64 of the big-endian unscaled number; or [`DecimalMode`] |
//! | BIT(1), BIT(n) | boolean; base64 of its little-endian bytes |
//! | CHAR, VARCHAR, TEXT, ENUM, SET, JSON | string |
//! | BINARY, VARBINARY, BLOB | base64 |
//! | DATE | days since 1970 |
//! | TIME | microseconds |
//! | DATETIME(0..3), DATETIME(4..6) | milliseconds, microseconds since 1970 as if in UTC |
//! | TIMESTAMP | ISO 8601 in UTC |
//! | GEOMETRY | `{"wkb": base64, "srid": number or null}` |
//! | VECTOR | array of numbers |
//! | UUID, INET4, INET6 | string |
//!
//! It differs from Debezium where Debezium would say something else than the database:
//! BIGINT UNSIGNED never turns negative; an integer of unknown sign is the signed number; ENUM and SET
//! without known members are their number; what is not in the row image is left out; text that cannot be
//! decoded is base64 of its bytes and is counted ([`Debezium::undecoded`]).
//!
//! Partial updates of JSON (`binlog_row_value_options=PARTIAL_JSON`) come out as whole documents, made of
//! the before image and the differences. Where the before image has not the column
//! (`binlog_row_image=MINIMAL`), the differences stand for it, as an object where else a string stands,
//! and are counted ([`Debezium::unapplied`]):
//!
//! ```json
//! {"json_diff": [{"op": "replace", "path": "$.a[0]", "value": 1}, {"op": "remove", "path": "$.b"}]}
//! ```

use super::json::{base64, push, push_json_string, push_signed, push_unsigned, quoted};
use super::{Change, Diffed, EnvelopeError, apply_json, object};
use crate::binlog::rows::{Cell, Operation};
use crate::binlog::table::{Column, Kind, Table};
use crate::binlog::value::{
    self, Date, DateTime, Decimal, Json, Time, Value, ValueError, Why, push_double, push_float,
    push_members, push_moment, render_text, vector_floats,
};

/// What may be chosen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// DECIMAL.
    pub decimal: DecimalMode,
    /// BIGINT UNSIGNED.
    pub bigint_unsigned: BigintUnsigned,
    /// Dates that no calendar has: zero, and with a zero month or day.
    pub zero_date: ZeroDate,
    /// Strings of columns whose character set the log does not say.
    pub unknown_text: UnknownText,
}

/// How a DECIMAL is written (`decimal.handling.mode`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DecimalMode {
    /// Base64 of the unscaled big-endian number; the scale is the column's.
    #[default]
    Precise,
    /// The digits in a string.
    Text,
    /// A number with all its digits; readers may round it.
    Number,
}

/// How a BIGINT UNSIGNED is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BigintUnsigned {
    /// A number, also above 2^63−1.
    #[default]
    Number,
    /// A string.
    Text,
}

/// How an impossible date is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ZeroDate {
    /// `null` if the column may be NULL, else 1970-01-01: Debezium's way.
    #[default]
    NullOrEpoch,
    /// `null`.
    Null,
    /// The text that the server prints.
    Text,
}

/// How bytes are written of which the log does not say whether they are text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownText {
    /// Base64: nothing is guessed.
    #[default]
    Base64,
    /// As text where they happen to be valid UTF-8, else base64.
    Utf8,
}

/// Writes changes as lines of JSON.
#[derive(Debug, Default)]
pub struct Debezium {
    options: Options,
    undecoded: u64,
    unapplied: u64,
    scratch: Vec<u8>,
}

impl Debezium {
    /// A writer with these options.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// How many values had to be written as bytes although they are, or may be, text.
    pub fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// How many JSON values had to be written as differences from what the log has not.
    pub fn unapplied(&self) -> u64 {
        self.unapplied
    }

    /// Appends one change, without a line's end.
    ///
    /// # Errors
    /// When a value is not one of its column's type; `out` is then as it was.
    pub fn write(&mut self, change: &Change<'_>, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let start = out.len();
        let written = self.event(change, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn event(&mut self, change: &Change<'_>, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        out.extend_from_slice(b"{\"before\":");
        self.row(change.table, change.before, None, out)?;
        out.extend_from_slice(b",\"after\":");
        self.row(change.table, change.after, change.before, out)?;
        out.extend_from_slice(b",\"source\":");
        self.source(change, out);
        out.extend_from_slice(b",\"transaction\":null,\"op\":\"");
        out.push(match change.operation {
            Operation::Insert => b'c',
            Operation::Update => b'u',
            Operation::Delete => b'd',
        });
        let at_us = change.rendered_us;
        out.extend_from_slice(b"\",\"ts_ms\":");
        push_unsigned(at_us / 1000, out);
        push_us_ns(out, at_us);
        out.push(b'}');
        Ok(())
    }

    fn source(&mut self, change: &Change<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(
            concat!("{\"version\":\"rivulet-", env!("CARGO_PKG_VERSION"), "\"").as_bytes(),
        );
        out.extend_from_slice(b",\"connector\":");
        push_json_string(change.connector.as_bytes(), out);
        out.extend_from_slice(b",\"name\":");
        push_json_string(change.source.as_bytes(), out);
        let at_us = change.changed_us;
        out.extend_from_slice(b",\"ts_ms\":");
        push_unsigned(at_us / 1000, out);
        out.extend_from_slice(b",\"snapshot\":\"false\",\"db\":");
        push_json_string(change.table.schema.as_bytes(), out);
        out.extend_from_slice(b",\"sequence\":null");
        push_us_ns(out, at_us);
        out.extend_from_slice(b",\"table\":");
        push_json_string(change.table.name.as_bytes(), out);
        out.extend_from_slice(b",\"server_id\":");
        push_unsigned(change.server_id.into(), out);
        out.extend_from_slice(b",\"gtid\":");
        match change.gtid {
            Some(gtid) => push(out, format_args!("\"{gtid}\"")),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"file\":");
        push_json_string(change.file.as_bytes(), out);
        out.extend_from_slice(b",\"pos\":");
        push_unsigned(change.offset, out);
        out.extend_from_slice(b",\"row\":");
        push_unsigned(change.row.into(), out);
        out.extend_from_slice(b",\"thread\":");
        match change.thread {
            Some(thread) => push_unsigned(thread.into(), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"query\":null}");
    }

    fn row(
        &mut self,
        table: &Table,
        cells: Option<&[Cell<'_>]>,
        before: Option<&[Cell<'_>]>,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let Some(cells) = cells else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        object(
            table,
            cells,
            |_, _| true,
            out,
            |index, column, cell, out| match cell {
                Cell::Value(bytes) => self.value(column, bytes, out),
                Cell::JsonDiff(diffs) => {
                    let before = before.and_then(|cells| cells.get(index));
                    self.json_diff(before.copied(), diffs, out)
                }
                Cell::Null | Cell::Absent => {
                    out.extend_from_slice(b"null");
                    Ok(())
                }
            },
        )
    }

    fn value(
        &mut self,
        column: &Column,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let value = value::decode(column, bytes)?;
        match &value {
            Value::Int(number) | Value::SignUnknown { signed: number, .. } => {
                push_signed(*number, out);
            }
            Value::UInt(number) => self.unsigned(column.kind, *number, out),
            Value::Year(year) => push_unsigned((*year).into(), out),
            Value::Float(number) if number.is_finite() => {
                push_float(*number, true, out);
            }
            Value::Double(number) if number.is_finite() => {
                push_double(*number, true, out);
            }
            Value::Float(_) | Value::Double(_) => {
                return Err(ValueError { what: "FLOAT: not a finite number", length: bytes.len() });
            }
            Value::Decimal(decimal) => self.decimal(*decimal, out),
            Value::Bit { bits: 1, value } => push(out, *value != 0),
            Value::Bit { bits, value } => {
                let used = usize::from(bits.div_ceil(8));
                base64(value.to_le_bytes().get(..used).unwrap_or_default(), out);
            }
            Value::Date(date) => match day_number(*date) {
                Some(day) => push_signed(day, out),
                None => self.impossible(column, &value, "0", out)?,
            },
            Value::Time(time) => push_signed(time_us(time), out),
            Value::DateTime(moment) => match datetime_us(moment) {
                Some(us) if moment.digits <= 3 => push_signed(us.div_euclid(1000), out),
                Some(us) => push_signed(us, out),
                None => self.impossible(column, &value, "0", out)?,
            },
            Value::Timestamp { seconds: 0, micros: 0, .. } => {
                self.impossible(column, &value, "\"1970-01-01T00:00:00Z\"", out)?;
            }
            // `2020-01-02T03:04:05.678Z`, with as many digits as the column has.
            Value::Timestamp { seconds, micros, digits } => {
                let moment = value::timestamp(*seconds, *micros, *digits);
                out.push(b'"');
                push_moment(&moment, b'T', out);
                out.extend_from_slice(b"Z\"");
            }
            Value::Text(text) => push_json_string(text.as_bytes(), out),
            Value::Bytes(bytes, why) => self.bytes(bytes, *why, out),
            Value::Padded { bytes, zeros } => {
                self.scratch.clear();
                self.scratch.extend_from_slice(bytes);
                self.scratch.resize(bytes.len() + usize::from(*zeros), 0);
                base64(&self.scratch, out);
            }
            Value::Enum { index, label: None } => push_unsigned((*index).into(), out),
            Value::Enum { label: Some(label), .. } => push_json_string(label.as_bytes(), out),
            Value::Set { bits, labels, collation } => {
                self.scratch.clear();
                if push_members(*bits, labels, *collation, &mut self.scratch) {
                    push_json_string(&self.scratch, out);
                } else {
                    push_unsigned(*bits, out);
                }
            }
            Value::Json(Json::Text(text)) => push_json_string(text.as_bytes(), out),
            Value::Json(Json::Binary(_)) => {
                self.scratch.clear();
                render_text(&value, &mut self.scratch)?;
                push_json_string(&self.scratch, out);
            }
            Value::Uuid(_) | Value::Inet4(_) | Value::Inet6(_) => {
                out.push(b'"');
                render_text(&value, out)?;
                out.push(b'"');
            }
            Value::Geometry { srid, wkb } => {
                out.extend_from_slice(b"{\"wkb\":");
                base64(wkb, out);
                match srid {
                    None | Some(0) => out.extend_from_slice(b",\"srid\":null}"),
                    Some(srid) => push(out, format_args!(",\"srid\":{srid}}}")),
                }
            }
            Value::Vector(bytes) => self.vector(bytes, out)?,
        }
        Ok(())
    }

    fn json_diff(
        &mut self,
        before: Option<Cell<'_>>,
        diffs: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        self.scratch.clear();
        match apply_json(before, diffs, &mut self.scratch)? {
            Diffed::Document => push_json_string(&self.scratch, out),
            Diffed::Differences => {
                self.unapplied += 1;
                out.extend_from_slice(b"{\"json_diff\":");
                out.extend_from_slice(&self.scratch);
                out.push(b'}');
            }
        }
        Ok(())
    }

    fn unsigned(&self, kind: Kind, number: u64, out: &mut Vec<u8>) {
        match (kind, self.options.bigint_unsigned) {
            (Kind::LongLong, BigintUnsigned::Text) => push(out, format_args!("\"{number}\"")),
            _ => push_unsigned(number, out),
        }
    }

    fn decimal(&self, decimal: Decimal<'_>, out: &mut Vec<u8>) {
        match self.options.decimal {
            DecimalMode::Precise => base64(decimal.unscaled().as_bytes(), out),
            DecimalMode::Text => quoted(out, |out| decimal.push_text(out)),
            DecimalMode::Number => decimal.push_text(out),
        }
    }

    fn impossible(
        &mut self,
        column: &Column,
        value: &Value<'_>,
        epoch: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        match self.options.zero_date {
            ZeroDate::Text => {
                out.push(b'"');
                render_text(value, out)?;
                out.push(b'"');
            }
            ZeroDate::NullOrEpoch if !column.nullable => out.extend_from_slice(epoch.as_bytes()),
            ZeroDate::NullOrEpoch | ZeroDate::Null => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8], why: Why, out: &mut Vec<u8>) {
        let guess = why == Why::CharsetUnknown && self.options.unknown_text == UnknownText::Utf8;
        if guess && let Ok(text) = std::str::from_utf8(bytes) {
            push_json_string(text.as_bytes(), out);
            return;
        }
        if why != Why::Binary {
            self.undecoded += 1;
        }
        base64(bytes, out);
    }

    fn vector(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        out.push(b'[');
        for (index, number) in vector_floats(bytes).enumerate() {
            if !number.is_finite() {
                let what = "VECTOR: not a finite number";
                return Err(ValueError { what, length: bytes.len() });
            }
            if index > 0 {
                out.push(b',');
            }
            push_float(number, true, out);
        }
        out.push(b']');
        Ok(())
    }
}

/// Microseconds, and the same in nanoseconds: behind each other, as both blocks have them.
fn push_us_ns(out: &mut Vec<u8>, at_us: u64) {
    out.extend_from_slice(b",\"ts_us\":");
    push_unsigned(at_us, out);
    out.extend_from_slice(b",\"ts_ns\":");
    push_unsigned(at_us, out);
    if at_us > 0 {
        out.extend_from_slice(b"000");
    }
}

/// Days since 1970-01-01; `None` for what the calendar does not have.
fn day_number(date: Date) -> Option<i64> {
    let Date { year, month, day } = date;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year > 9999 || !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = (i64::from(year), i64::from(month));
    let year = if month <= 2 { year - 1 } else { year };
    let month = if month <= 2 { month + 9 } else { month - 3 };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + (153 * month + 2) / 5 + i64::from(day) - 1 - 719_468)
}

fn datetime_us(moment: &DateTime) -> Option<i64> {
    if moment.hour > 23 || moment.minute > 59 || moment.second > 59 {
        return None;
    }
    let clock = clock_us(moment.hour.into(), moment.minute, moment.second, moment.micros);
    Some(day_number(moment.date)? * 86_400_000_000 + clock)
}

fn time_us(time: &Time) -> i64 {
    let size = clock_us(time.hours, time.minutes, time.seconds, time.micros);
    if time.negative { -size } else { size }
}

fn clock_us(hours: u32, minutes: u8, seconds: u8, micros: u32) -> i64 {
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
    seconds * 1_000_000 + i64::from(micros)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{column, orders, update};
    use super::*;
    use crate::binlog::table::Meaning;

    fn json(options: Options, column: &Column, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Debezium::new(options).value(column, bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = |year, month, day| day_number(Date { year, month, day });
        assert_eq!(day(1970, 1, 1), Some(0));
        assert_eq!(day(2000, 2, 29), Some(11_016));
        assert_eq!(day(9999, 12, 31), Some(2_932_896));
        assert_eq!(day(0, 1, 1), Some(-719_528));
        assert_eq!(day(1900, 2, 29), None);
        assert_eq!(day(2020, 0, 0), None);
        assert_eq!(day(0, 0, 0), None);
    }

    #[test]
    fn a_bigint_unsigned_never_turns_negative() {
        let column = Column { unsigned: Some(true), ..column(Kind::LongLong, 0) };
        assert_eq!(json(Options::default(), &column, &[0xFF; 8]), "18446744073709551615");
        let text = Options { bigint_unsigned: BigintUnsigned::Text, ..Options::default() };
        assert_eq!(json(text, &column, &[0xFF; 8]), "\"18446744073709551615\"");
    }

    #[test]
    fn a_decimal_is_kafka_connects_by_default() {
        let column = column(Kind::NewDecimal, 5 | 2 << 8);
        let bytes = [0x80, 1, 28];
        assert_eq!(json(Options::default(), &column, &bytes), "\"AIA=\"");
        let text = Options { decimal: DecimalMode::Text, ..Options::default() };
        assert_eq!(json(text, &column, &bytes), "\"1.28\"");
        let number = Options { decimal: DecimalMode::Number, ..Options::default() };
        assert_eq!(json(number, &column, &bytes), "1.28");
    }

    #[test]
    fn impossible_dates_are_null_or_the_epoch() {
        let mut date = column(Kind::Date, 0);
        assert_eq!(json(Options::default(), &date, &[0, 0, 0]), "null");
        date.nullable = false;
        assert_eq!(json(Options::default(), &date, &[0, 0, 0]), "0");
        let text = Options { zero_date: ZeroDate::Text, ..Options::default() };
        assert_eq!(json(text, &date, &[0, 0, 0]), "\"0000-00-00\"");
        let stamp = Column { nullable: false, ..column(Kind::Timestamp2, 0) };
        assert_eq!(json(Options::default(), &stamp, &[0; 4]), "\"1970-01-01T00:00:00Z\"");
    }

    #[test]
    fn bits_are_little_endian_and_one_bit_is_a_boolean() {
        assert_eq!(json(Options::default(), &column(Kind::Bit, 1), &[1]), "true");
        assert_eq!(json(Options::default(), &column(Kind::Bit, 1 | 1 << 8), &[1, 2]), "\"AgE=\"");
    }

    #[test]
    fn undecodable_text_is_counted_never_replaced() {
        let column = Column { collation: Some(255), ..column(Kind::Varchar, 40) };
        let mut debezium = Debezium::new(Options::default());
        let mut out = Vec::new();
        debezium.value(&column, b"a\xff", &mut out).unwrap();
        assert_eq!((out.as_slice(), debezium.undecoded()), (&b"\"Yf8=\""[..], 1));
    }

    #[test]
    fn mariadbs_types_in_strings_are_what_they_mean() {
        let mut string = Column { meaning: Meaning::Inet4, ..column(Kind::String, 4) };
        assert_eq!(json(Options::default(), &string, &[192, 0, 2]), "\"192.0.2.0\"");
        string.meaning = Meaning::Vector;
        assert_eq!(json(Options::default(), &string, &1.5_f32.to_le_bytes()), "[1.5]");
    }

    #[test]
    fn an_event_has_debeziums_fields_in_debeziums_order() {
        let (table, mut out) = (orders(), Vec::new());
        update(&table, |change| Debezium::default().write(change, &mut out).unwrap());
        let golden = concat!(
            r#"{"before":{"id":7,"note":null},"#,
            r#""after":{"id":7,"note":"\"é\"\n","at":1580526185000},"#,
            r#""source":{"version":"rivulet-"#,
            env!("CARGO_PKG_VERSION"),
            r#"","connector":"mariadb","name":"press-7","ts_ms":1700000000123,"snapshot":"false","#,
            r#""db":"shop","sequence":null,"ts_us":1700000000123456,"ts_ns":1700000000123456000,"#,
            r#""table":"orders","server_id":9,"gtid":"0-1-2","file":"binlog.000001","pos":1337,"#,
            r#""row":2,"thread":null,"query":null},"transaction":null,"op":"u","#,
            r#""ts_ms":1700000001000,"ts_us":1700000001000000,"ts_ns":1700000001000000000}"#,
        );
        assert_eq!(String::from_utf8(out).unwrap(), golden);
    }
}
