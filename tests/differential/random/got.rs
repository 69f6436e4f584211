//! A value as Rivulet decodes it, and whether SELECT says the same.

use rivulet::binlog::rows::Cell;
use rivulet::binlog::table::Column as LoggedColumn;
use rivulet::binlog::value::{self, Value, Why, json_diff, push_members, render_text};

use super::column::{Kind, Truth};
use crate::harness::tables::{hex, unhex};

/// One value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    Null,
    /// What SELECT prints: numbers, DECIMAL, dates and times, addresses.
    Plain(String),
    /// An integer whose sign the log does not say.
    Unsure(i64, u64),
    Float(u32),
    Double(u64),
    Text(String),
    Bytes(Vec<u8>, Why),
    Member(u64, Option<String>),
    /// GEOMETRY with its SRID, VECTOR.
    Raw(Vec<u8>),
}

/// What the log said of a table, and with it how exact its values must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knows {
    /// The types alone.
    Types,
    /// Names, signs, character sets and members.
    Names,
    /// That, and what a column means where its type in the log does not tell.
    Meanings,
}

impl Got {
    /// An error says why it is no value of its column.
    pub fn read(column: &LoggedColumn, bytes: &[u8]) -> Result<Self, String> {
        let value = value::decode(column, bytes).map_err(|error| error.to_string())?;
        let plain = || {
            let mut text = Vec::new();
            render_text(&value, &mut text).map_err(|error| error.to_string())?;
            String::from_utf8(text).map_err(|error| error.to_string())
        };
        Ok(match &value {
            Value::SignUnknown { signed, unsigned } => Self::Unsure(*signed, *unsigned),
            Value::Float(number) => Self::Float(number.to_bits()),
            Value::Double(number) => Self::Double(number.to_bits()),
            Value::Year(year) => Self::Plain(year.to_string()),
            Value::Text(text) => Self::Text(text.clone().into_owned()),
            Value::Json(_) => Self::Text(plain()?),
            Value::Bytes(bytes, why) => Self::Bytes(bytes.clone().into_owned(), *why),
            Value::Padded { bytes, zeros } => {
                let zeros = vec![0; usize::from(*zeros)];
                Self::Bytes([*bytes, &zeros].concat(), Why::Binary)
            }
            Value::Enum { index, label } => {
                Self::Member((*index).into(), label.as_ref().map(ToString::to_string))
            }
            Value::Set { bits, labels, collation } => {
                let mut text = Vec::new();
                let said = push_members(*bits, labels, *collation, &mut text);
                let text = String::from_utf8(text).map_err(|error| error.to_string())?;
                Self::Member(*bits, (said && !labels.is_empty()).then_some(text))
            }
            Value::Geometry { srid, wkb } => {
                let srid = srid.map_or(Vec::new(), |srid| srid.to_le_bytes().to_vec());
                Self::Raw([&srid, *wkb].concat())
            }
            Value::Vector(bytes) => Self::Raw(bytes.to_vec()),
            _ => Self::Plain(plain()?),
        })
    }

    /// A JSON document of which the log has the differences from the one before.
    pub fn changed(before: Option<&Cell<'_>>, diffs: &[u8]) -> Result<Self, String> {
        let Some(Cell::Value(before)) = before else {
            return Err("differences from a document that is not in the log".to_owned());
        };
        let mut text = Vec::new();
        json_diff::apply(before, diffs, &mut text).map_err(|error| error.to_string())?;
        Ok(Self::Text(String::from_utf8(text).map_err(|error| error.to_string())?))
    }

    /// Whether SELECT shows this very value.
    pub fn agrees(&self, kind: &Kind, truth: &Truth, knows: Knows) -> bool {
        let Some(texts) = truth else { return *self == Self::Null };
        let first = texts[0].as_str();
        let named = knows != Knows::Types;
        match (kind, self) {
            (_, Self::Null) => false,
            (_, Self::Unsure(signed, unsigned)) => {
                !named && (signed.to_string() == first || unsigned.to_string() == first)
            }
            (Kind::Float { .. }, Self::Float(bits)) => {
                first.parse::<f64>().is_ok_and(|number| (number as f32).to_bits() == *bits)
            }
            (Kind::Double { .. }, Self::Double(bits)) => {
                first.parse::<f64>().is_ok_and(|number| number.to_bits() == *bits)
            }
            (Kind::Enum { .. } | Kind::Set { .. }, Self::Member(number, label)) => {
                let said = label.as_ref().is_some_and(|label| hex(label.as_bytes()) == texts[1]);
                number.to_string() == first && (said || label.is_none() && !named)
            }
            (Kind::Text { .. }, Self::Text(text)) => same_text(texts, text),
            (Kind::Text { .. }, Self::Bytes(bytes, why)) => same_bytes(texts, bytes, *why, named),
            (Kind::Bytes { fixed, .. }, Self::Bytes(bytes, why)) => match why {
                Why::Binary => hex(bytes) == first,
                _ => !named && (hex(bytes) == first || *fixed && unpadded(first, bytes)),
            },
            (Kind::Json, Self::Text(text)) => hex(text.as_bytes()) == first,
            (Kind::JsonText, Self::Text(text)) => hex(text.as_bytes()) == first,
            (Kind::JsonText, Self::Bytes(bytes, _)) => !named && hex(bytes) == first,
            (Kind::Geometry(_) | Kind::Vector(_), Self::Raw(bytes)) => hex(bytes) == first,
            (Kind::VectorBytes(_), Self::Raw(bytes)) => hex(bytes) == first,
            (Kind::VectorBytes(_), Self::Bytes(bytes, _)) => unmeant(knows) && hex(bytes) == first,
            (Kind::Inet4 | Kind::Inet6, Self::Bytes(bytes, _)) => {
                unmeant(knows) && unpadded(&texts[1], bytes)
            }
            (Kind::Uuid, Self::Bytes(bytes, _)) => unmeant(knows) && is_stored_uuid(first, bytes),
            (_, Self::Plain(text)) => text == first,
            _ => false,
        }
    }
}

/// Text that the server could read: a question mark in it was one.
fn same_text(texts: &[String], text: &str) -> bool {
    let [shown, raw, back] = texts else { return hex(text.as_bytes()) == texts[0] };
    let bytes = |hex: &String| unhex(hex);
    let (shown, raw, back) = (bytes(shown), bytes(raw), bytes(back));
    let questions = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'?').count();
    if questions(&back) <= questions(&raw) {
        return shown == text.as_bytes();
    }
    // latin2_czech_cs has no DEL; MySQL copies it nevertheless where nothing but ASCII stands before it.
    let plain = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().map(|byte| if *byte == 0x7f { b'?' } else { *byte }).collect()
    };
    plain(&raw) == plain(&back) && plain(&shown) == plain(text.as_bytes())
}

/// Text that is no text in Rivulet's eyes: because the log does not say the character set, or because
/// not even the server can read it and write it again.
fn same_bytes(texts: &[String], bytes: &[u8], why: Why, named: bool) -> bool {
    let raw = texts.get(1).unwrap_or(&texts[0]);
    // MariaDB reads some bytes as the replacement character, and that as those bytes; and takes halves of
    // surrogate pairs for characters, which they are not in UTF-8.
    let replaced = texts[0].contains("EFBFBD") || String::from_utf8(unhex(&texts[0])).is_err();
    let lossy = replaced || texts.get(2).is_some_and(|back| back != raw);
    let fine = match why {
        Why::Binary => false,
        Why::CharsetUnknown => !named,
        Why::Undecodable => lossy,
    };
    fine && hex(bytes) == *raw
}

/// Whether a column's meaning need not be known.
fn unmeant(knows: Knows) -> bool {
    knows != Knows::Meanings
}

/// The log leaves out a fixed string's zero bytes at the end.
fn unpadded(truth: &str, bytes: &[u8]) -> bool {
    let ours = hex(bytes);
    ours.len() <= truth.len() && ours.trim_end_matches("00") == truth.trim_end_matches("00")
}

/// MariaDB stores a UUID of versions 1 to 5 with its five groups in the opposite order.
fn is_stored_uuid(text: &str, bytes: &[u8]) -> bool {
    let groups: Vec<String> = text.split('-').map(str::to_uppercase).collect();
    let turned: String = groups.iter().rev().map(String::as_str).collect();
    unpadded(&turned, bytes) || unpadded(&groups.concat(), bytes)
}
