//! What one column's bytes mean: the faithful, unambiguous reading of a [`Cell::Value`].
//!
//! [`decode`] looks at the type and the metadata of the column, never at neighbours, and never guesses:
//! what the log does not say stays visible in the [`Value`].
//!
//! | not known | what comes out |
//! |---|---|
//! | whether an integer is unsigned | [`Value::Int`] where it makes no difference, else [`Value::SignUnknown`] |
//! | a text's collation | [`Value::Bytes`] with [`Why::CharsetUnknown`] |
//! | members of ENUM and SET | their number, without a label |
//!
//! ```text
//!   Column, bytes ──► decode ──► Value ──► render_text (as SELECT prints it in UTC)
//!                                     └──► envelope
//! ```
//!
//! [`Cell::Value`]: crate::binlog::rows::Cell::Value

mod charset;
pub mod check;
mod collation;
mod compressed;
mod decimal;
mod digits;
mod json;
pub mod json_diff;
mod json_path;
mod multi_byte;
mod network;
mod number_text;
mod single_byte;
mod temporal;
mod text;

use std::borrow::Cow;
use std::fmt;

pub use charset::Charset;
pub use decimal::{Decimal, Unscaled};
pub use digits::{push_base64, push_json_string, push_signed, push_unsigned};
pub use json::Json;
pub use number_text::{push_double, push_float};
pub use text::{push_moment, render_text, timestamp};

use crate::binlog::table::{Column, Kind, Meaning};
use crate::binlog::table_map::label_bytes;

/// One value, read from a row image.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A signed integer, or one that is the same either way.
    Int(i64),
    /// An integer of an UNSIGNED column.
    UInt(u64),
    /// An integer with its top bit set in a column of which the log does not say the sign.
    SignUnknown {
        /// What it is if the column is signed.
        signed: i64,
        /// What it is if the column is UNSIGNED.
        unsigned: u64,
    },
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal<'a>),
    /// BIT.
    Bit {
        /// The column's width, 1 to 64.
        bits: u16,
        /// The value.
        value: u64,
    },
    /// YEAR; 0 is the zero year, else 1901 to 2155.
    Year(u16),
    /// DATE; zero and partial dates (`2020-00-00`) as they are.
    Date(Date),
    /// TIME, −838:59:59 to 838:59:59.
    Time(Time),
    /// DATETIME: a wall clock without a time zone.
    DateTime(DateTime),
    /// TIMESTAMP: seconds since 1970 in UTC; 0 is the zero timestamp.
    Timestamp {
        /// Whole seconds since 1970 in UTC.
        seconds: u32,
        /// Microseconds within the second.
        micros: u32,
        /// Digits of the fraction, 0 to 6.
        digits: u8,
    },
    /// CHAR, VARCHAR, TEXT, as UTF-8.
    Text(Cow<'a, str>),
    /// Bytes that are not text, or that cannot be read as text.
    Bytes(Cow<'a, [u8]>, Why),
    /// BINARY(n): n bytes, of which the log leaves out zeros at the end.
    Padded {
        /// What the log has.
        bytes: &'a [u8],
        /// How many zero bytes follow.
        zeros: u16,
    },
    /// ENUM.
    Enum {
        /// From 1; 0 is the empty error value.
        index: u16,
        /// The member, where the log names it and its character set can be read.
        label: Option<Cow<'a, str>>,
    },
    /// SET.
    Set {
        /// Bit 0 is the first member.
        bits: u64,
        /// All members of the column, where the log names them; else empty. See [`push_members`].
        labels: &'a [String],
        /// In which the members' names may still be.
        collation: Option<u16>,
    },
    /// JSON; its text is made by [`Json::render`].
    Json(Json<'a>),
    /// GEOMETRY and its subtypes.
    Geometry {
        /// The spatial reference system; `None` for the empty value that MariaDB stores where there is none.
        srid: Option<u32>,
        /// Well-known binary.
        wkb: &'a [u8],
    },
    /// VECTOR: little-endian `f32`s, see [`vector_floats`].
    Vector(&'a [u8]),
    /// MariaDB's UUID, in the order in which it is written.
    Uuid([u8; 16]),
    /// MariaDB's INET4.
    Inet4([u8; 4]),
    /// MariaDB's INET6.
    Inet6([u8; 16]),
}

/// Why a value is bytes and not text.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Why {
    /// The column is BINARY, VARBINARY or BLOB.
    Binary,
    /// The log does not say what the column is.
    CharsetUnknown,
    /// The bytes are not valid in the column's character set, or it has no decoder here.
    Undecodable,
}

/// A day; any part may be zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Date {
    /// 0 to 9999 (the format holds 32767).
    pub year: u16,
    /// 0 to 12 (the format holds 15).
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A span or a time of day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Time {
    /// Below zero.
    pub negative: bool,
    /// 0 to 838 (the format holds 1023).
    pub hours: u32,
    /// 0 to 59 (the format holds 63).
    pub minutes: u8,
    /// 0 to 59 (the format holds 63).
    pub seconds: u8,
    /// 0 to 999,999.
    pub micros: u32,
    /// Digits of the fraction, 0 to 6.
    pub digits: u8,
}

/// A wall clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// 0 to 23 (the format holds 31).
    pub hour: u8,
    /// 0 to 59 (the format holds 63).
    pub minute: u8,
    /// 0 to 59 (the format holds 63).
    pub second: u8,
    /// 0 to 999,999.
    pub micros: u32,
    /// Digits of the fraction, 0 to 6.
    pub digits: u8,
}

/// Bytes that are not a value of their column's type. Who knows the row adds file, table and column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValueError {
    /// What is wrong, with the type's name first.
    pub what: &'static str,
    /// How many bytes the value has.
    pub length: usize,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (in a value of {} bytes)", self.what, self.length)
    }
}

impl std::error::Error for ValueError {}

/// Reads one value.
///
/// # Errors
/// When the length does not fit the type, or a part is outside of what the format allows.
// What takes a few instructions is done where it is asked for, and nothing is saved for it: no rarer type's
// registers, no copy of a value.
#[inline(always)]
pub fn decode<'a>(column: &'a Column, bytes: &'a [u8]) -> Result<Value<'a>, ValueError> {
    let fail = |what| ValueError { what, length: bytes.len() };
    match column.kind {
        Kind::Tiny => match *bytes {
            [a] => Ok(integer(column, a.into(), 8)),
            _ => Err(fail("TINYINT: not 1 byte")),
        },
        Kind::Short => match bytes.try_into() {
            Ok(raw) => Ok(integer(column, u16::from_le_bytes(raw).into(), 16)),
            Err(_) => Err(fail("SMALLINT: not 2 bytes")),
        },
        Kind::Int24 => match *bytes {
            [a, b, c] => Ok(integer(column, u32::from_le_bytes([a, b, c, 0]).into(), 24)),
            _ => Err(fail("MEDIUMINT: not 3 bytes")),
        },
        Kind::Long => match bytes.try_into() {
            Ok(raw) => Ok(integer(column, u32::from_le_bytes(raw).into(), 32)),
            Err(_) => Err(fail("INT: not 4 bytes")),
        },
        Kind::LongLong => match bytes.try_into() {
            Ok(raw) => Ok(integer(column, u64::from_le_bytes(raw), 64)),
            Err(_) => Err(fail("BIGINT: not 8 bytes")),
        },
        Kind::Float => match <[u8; 4]>::try_from(bytes) {
            Ok(raw) => Ok(Value::Float(f32::from_le_bytes(raw))),
            Err(_) => Err(fail("FLOAT: not 4 bytes")),
        },
        Kind::Double => match <[u8; 8]>::try_from(bytes) {
            Ok(raw) => Ok(Value::Double(f64::from_le_bytes(raw))),
            Err(_) => Err(fail("DOUBLE: not 8 bytes")),
        },
        Kind::NewDecimal => decimal(column.meta, bytes),
        Kind::Varchar | Kind::VarString | Kind::String | Kind::Blob => string(column, bytes),
        Kind::Timestamp2 | Kind::DateTime2 | Kind::Time2 | Kind::Date => {
            moment(column.kind, column.meta, bytes)
        }
        Kind::NewDate | Kind::Time | Kind::DateTime | Kind::Timestamp => {
            moment(column.kind, column.meta, bytes)
        }
        Kind::TinyBlob | Kind::MediumBlob | Kind::LongBlob => string(column, bytes),
        Kind::BlobCompressed | Kind::VarcharCompressed => compressed(column, bytes),
        Kind::Bit => bit(column.meta, bytes).ok_or(fail("BIT: the length does not fit the width")),
        Kind::Year => match *bytes {
            [0] => Ok(Value::Year(0)),
            [years] => Ok(Value::Year(1900 + u16::from(years))),
            _ => Err(fail("YEAR: not 1 byte")),
        },
        Kind::Enum => enumeration(column, bytes),
        Kind::Set => set(column, bytes).ok_or(fail("SET: not 1 to 8 bytes")),
        Kind::Json => Ok(Value::Json(Json::Binary(bytes))),
        Kind::Geometry => match bytes.split_first_chunk::<4>() {
            Some((srid, wkb)) => Ok(Value::Geometry { srid: Some(u32::from_le_bytes(*srid)), wkb }),
            None if bytes.is_empty() => Ok(Value::Geometry { srid: None, wkb: bytes }),
            None => Err(fail("GEOMETRY: shorter than its SRID")),
        },
        Kind::Vector => vector(bytes).ok_or(fail("VECTOR: not a multiple of 4 bytes")),
        Kind::OldDecimal => Err(fail("DECIMAL of MySQL 4: not supported")),
        Kind::Null => Err(fail("a value in a column that can only be NULL")),
    }
}

#[inline(never)]
fn decimal(meta: u16, bytes: &[u8]) -> Result<Value<'_>, ValueError> {
    let [precision, scale] = meta.to_le_bytes();
    let decimal = Decimal::decode(precision, scale, bytes).map(Value::Decimal);
    decimal.map_err(|what| ValueError { what, length: bytes.len() })
}

#[inline(never)]
fn moment(kind: Kind, meta: u16, bytes: &[u8]) -> Result<Value<'_>, ValueError> {
    let moment = temporal::decode(kind, meta, bytes);
    moment.map_err(|what| ValueError { what, length: bytes.len() })
}

#[inline(never)]
fn compressed<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, ValueError> {
    let value = compressed::decode(column, bytes);
    value.map_err(|what| ValueError { what, length: bytes.len() })
}

/// The numbers of a [`Value::Vector`].
pub fn vector_floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|raw| {
        f32::from_le_bytes(raw.try_into().expect("chunks_exact gives chunks of exactly 4"))
    })
}

/// Appends the members of a [`Value::Set`] that are set, in their order, with commas; appends nothing and is
/// false if one of them has no name.
pub fn push_members(
    bits: u64,
    labels: &[String],
    collation: Option<u16>,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let mut left = bits;
    while left != 0 {
        let member = labels.get(left.trailing_zeros() as usize);
        let Some(member) = member.and_then(|text| label(text, collation)) else {
            out.truncate(start);
            return false;
        };
        if left != bits {
            out.push(b',');
        }
        out.extend_from_slice(member.as_bytes());
        left &= left - 1;
    }
    true
}

/// A member's name; the log may have it in the column's character set, see [`label_bytes`].
fn label(text: &str, collation: Option<u16>) -> Option<Cow<'_, str>> {
    if !text.starts_with('\0') {
        return Some(Cow::Borrowed(text));
    }
    match read_text(collation, label_bytes(text)) {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// A number of so many bits; the sign is the column's.
#[inline(always)]
fn integer<'a>(column: &Column, unsigned: u64, bits: u32) -> Value<'a> {
    let shift = 64 - bits;
    let signed = (unsigned << shift).cast_signed() >> shift;
    match column.unsigned {
        Some(true) => Value::UInt(unsigned),
        None if signed < 0 => Value::SignUnknown { signed, unsigned },
        Some(false) | None => Value::Int(signed),
    }
}

/// Up to 8 little-endian bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Up to 8 big-endian bytes.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The metadata of BIT is the number of bits beyond whole bytes, then of whole bytes.
#[inline(never)]
fn bit<'a>(meta: u16, bytes: &[u8]) -> Option<Value<'a>> {
    let [rest, whole] = meta.to_le_bytes();
    let bits = u16::from(whole) * 8 + u16::from(rest);
    let wanted = usize::from(bits.div_ceil(8));
    (bits <= 64 && bytes.len() == wanted).then(|| Value::Bit { bits, value: big_endian(bytes) })
}

#[inline(never)]
fn enumeration<'a>(column: &'a Column, bytes: &[u8]) -> Result<Value<'a>, ValueError> {
    let index = match *bytes {
        [index] => u16::from(index),
        [low, high] => u16::from_le_bytes([low, high]),
        _ => return Err(ValueError { what: "ENUM: not 1 or 2 bytes", length: bytes.len() }),
    };
    let label = match index {
        0 if column.labels.is_empty() => None,
        0 => Some(Cow::Borrowed("")),
        _ => {
            column.labels.get(usize::from(index) - 1).and_then(|text| label(text, column.collation))
        }
    };
    Ok(Value::Enum { index, label })
}

#[inline(never)]
fn set<'a>(column: &'a Column, bytes: &[u8]) -> Option<Value<'a>> {
    (1..=8).contains(&bytes.len()).then(|| Value::Set {
        bits: little_endian(bytes),
        labels: &column.labels,
        collation: column.collation,
    })
}

/// A string column: text, bytes, or one of the types that MariaDB keeps in a string.
#[inline(never)]
fn string<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, ValueError> {
    // What nearly all text is.
    if column.meaning == Meaning::Plain
        && column.collation.and_then(Charset::of_collation) == Some(Charset::Utf8mb4)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok(Value::Text(Cow::Borrowed(text)));
    }
    any_string(column, bytes).map_err(|what| ValueError { what, length: bytes.len() })
}

fn any_string<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, &'static str> {
    Ok(match column.meaning {
        Meaning::Plain if column.kind == Kind::String && column.collation == Some(BINARY) => {
            fixed(bytes, column.meta)
        }
        Meaning::Plain | Meaning::Hidden => read_text(column.collation, Cow::Borrowed(bytes)),
        Meaning::Json => match read_text(column.collation.or(Some(UTF8MB4_BIN)), bytes.into()) {
            Value::Text(text) => Value::Json(Json::Text(text)),
            other => other,
        },
        Meaning::Uuid => Value::Uuid(padded(bytes).ok_or("UUID: longer than 16 bytes")?),
        Meaning::Inet6 => Value::Inet6(padded(bytes).ok_or("INET6: longer than 16 bytes")?),
        Meaning::Inet4 => Value::Inet4(padded(bytes).ok_or("INET4: longer than 4 bytes")?),
        Meaning::Vector => vector(bytes).ok_or("VECTOR: not a multiple of 4 bytes")?,
    })
}

/// BINARY(n) has n bytes, but the log leaves out its last zero bytes.
fn fixed(bytes: &[u8], length: u16) -> Value<'_> {
    match usize::from(length).checked_sub(bytes.len()).map(u16::try_from) {
        Some(Ok(zeros @ 1..)) => Value::Padded { bytes, zeros },
        _ => Value::Bytes(Cow::Borrowed(bytes), Why::Binary),
    }
}

/// The collation of BINARY, VARBINARY and BLOB.
const BINARY: u16 = 63;

/// MariaDB's JSON is text in this collation unless the column says otherwise.
const UTF8MB4_BIN: u16 = 46;

/// Text by its collation, or bytes with the reason.
fn read_text(collation: Option<u16>, bytes: Cow<'_, [u8]>) -> Value<'_> {
    let Some(collation) = collation else { return Value::Bytes(bytes, Why::CharsetUnknown) };
    match Charset::of_collation(collation) {
        Some(Charset::Binary) => Value::Bytes(bytes, Why::Binary),
        Some(charset) => match charset.decode(bytes) {
            Ok(text) => Value::Text(text),
            Err(bytes) => Value::Bytes(bytes, Why::Undecodable),
        },
        None => Value::Bytes(bytes, Why::Undecodable),
    }
}

fn vector<'a>(bytes: &'a [u8]) -> Option<Value<'a>> {
    bytes.len().is_multiple_of(4).then_some(Value::Vector(bytes))
}

/// The log leaves out a fixed string's trailing zero bytes.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::check::{KINDS, MEANINGS};
    use super::*;

    fn column(kind: Kind, meta: u16) -> Column {
        Column { kind, meta, ..Column::default() }
    }

    #[test]
    fn an_unknown_sign_is_never_guessed() {
        let mut tiny = column(Kind::Tiny, 0);
        assert_eq!(decode(&tiny, &[0x7F]), Ok(Value::Int(127)));
        assert_eq!(decode(&tiny, &[0xFF]), Ok(Value::SignUnknown { signed: -1, unsigned: 255 }));
        tiny.unsigned = Some(true);
        assert_eq!(decode(&tiny, &[0xFF]), Ok(Value::UInt(255)));
        let medium = Column { unsigned: Some(false), ..column(Kind::Int24, 0) };
        assert_eq!(decode(&medium, &[0, 0, 0x80]), Ok(Value::Int(-8_388_608)));
    }

    #[test]
    fn binary_has_its_whole_length() {
        let mut binary = Column { collation: Some(63), ..column(Kind::String, 4) };
        let padded = Value::Padded { bytes: &[1], zeros: 3 };
        assert_eq!(decode(&binary, &[1]), Ok(padded));
        binary.collation = None;
        let unknown = Value::Bytes(Cow::Borrowed(&[1]), Why::CharsetUnknown);
        assert_eq!(decode(&binary, &[1]), Ok(unknown));
    }

    #[test]
    fn labels_may_be_in_the_columns_own_character_set() {
        let labels = vec!["a".to_owned(), "\0e9".to_owned()];
        let column = Column { labels, collation: Some(8), ..column(Kind::Enum, 1) };
        let label = |bytes| match decode(&column, bytes) {
            Ok(Value::Enum { label, .. }) => label.map(Cow::into_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(label(&[0]), Some(String::new()));
        assert_eq!(label(&[2]), Some("é".to_owned()));
        assert_eq!(label(&[3]), None);
    }

    #[test]
    fn numbers_of_every_width_reach_to_their_ends() {
        let text = |kind, unsigned, bytes: &[u8]| {
            let column = Column { unsigned, ..column(kind, 0) };
            let mut out = Vec::new();
            render_text(&decode(&column, bytes).unwrap(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        for (kind, bytes) in [
            (Kind::Tiny, 1),
            (Kind::Short, 2),
            (Kind::Int24, 3),
            (Kind::Long, 4),
            (Kind::LongLong, 8),
        ] {
            let bits = 8 * u32::try_from(bytes).unwrap();
            let top = 1_i128 << (bits - 1);
            let raw = |number: i128| number.to_le_bytes()[..bytes].to_vec();
            for number in [-top, -1, 0, 1, top - 1] {
                assert_eq!(text(kind, Some(false), &raw(number)), number.to_string());
            }
            for number in [0, top - 1, top, 2 * top - 1] {
                assert_eq!(text(kind, Some(true), &raw(number)), number.to_string());
            }
            assert!(decode(&column(kind, 0), &raw(0)[1..]).is_err());
            assert!(decode(&column(kind, 0), &[0; 9]).is_err());
        }
    }

    #[test]
    fn bits_and_years_read_as_select_prints_them() {
        let text = |kind, meta, bytes: &[u8]| {
            let mut out = Vec::new();
            render_text(&decode(&column(kind, meta), bytes).unwrap(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Kind::Bit, 1, &[1]), "1");
        assert_eq!(text(Kind::Bit, 0x0101, &[1, 0xFF]), "511");
        assert_eq!(text(Kind::Bit, 0x0800, &[0xFF; 8]), "18446744073709551615");
        assert!(decode(&column(Kind::Bit, 0x0101), &[1]).is_err());
        assert_eq!(text(Kind::Year, 4, &[0]), "0000");
        assert_eq!(text(Kind::Year, 4, &[1]), "1901");
        assert_eq!(text(Kind::Year, 4, &[255]), "2155");
        assert!(decode(&column(Kind::Year, 4), &[]).is_err());
    }

    #[test]
    fn a_geometry_has_its_srid_or_is_empty() {
        let column = column(Kind::Geometry, 4);
        let point = [0xE6, 0x10, 0, 0, 1, 1];
        let value = Value::Geometry { srid: Some(4326), wkb: &[1, 1] };
        assert_eq!(decode(&column, &point), Ok(value));
        assert_eq!(decode(&column, &[]), Ok(Value::Geometry { srid: None, wkb: &[] }));
        assert!(decode(&column, &[0, 0, 0]).is_err());
    }

    #[test]
    fn members_beyond_the_last_are_a_number_never_a_name() {
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let text = |kind, meta, bytes: &[u8]| {
            let column = Column { labels: labels.clone(), ..column(kind, meta) };
            let mut out = Vec::new();
            render_text(&decode(&column, bytes).unwrap(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Kind::Enum, 1, &[0]), "");
        assert_eq!(text(Kind::Enum, 1, &[2]), "b");
        assert_eq!(text(Kind::Enum, 1, &[3]), "3");
        assert_eq!(text(Kind::Enum, 2, &[0, 1]), "256");
        assert_eq!(text(Kind::Set, 1, &[3]), "a,b");
        assert_eq!(text(Kind::Set, 1, &[0]), "");
        assert_eq!(text(Kind::Set, 1, &[5]), "5");
        assert_eq!(text(Kind::Set, 8, &[0xFF; 8]), "18446744073709551615");
    }

    /// What decoding and rendering give, if anything; never more than the bytes can honestly say.
    fn check(column: &Column, bytes: &[u8]) {
        let mut out = Vec::new();
        if let Ok(value) = decode(column, bytes) {
            let _ = render_text(&value, &mut out);
            // BINARY(n) has n bytes whatever the log leaves out; a compressed column may hold a
            // thousand times its bytes, and two digits are written for each.
            let stretched = matches!(column.kind, Kind::BlobCompressed | Kind::VarcharCompressed);
            let limit = bytes.len() * if stretched { 4000 } else { 16 };
            let padding = 2 * usize::from(column.meta);
            assert!(out.len() <= limit + padding + 64, "{column:?} {bytes:?}");
            assert!(String::from_utf8(out).is_ok(), "{column:?} {bytes:?}");
        }
    }

    #[test]
    fn no_type_panics_on_any_length_or_metadata() {
        for kind in KINDS {
            for meta in [0, 1, 2, 6, 7, 0xFF, 0x0102, 0x1E41, 0xFFFF] {
                for length in 0..24 {
                    for fill in [0, 1, 0x7F, 0x80, 0xFF] {
                        let column = Column { collation: Some(255), ..column(kind, meta) };
                        check(&column, &vec![fill; length]);
                    }
                }
            }
        }
    }

    #[test]
    fn random_bytes_of_every_type_end_in_bounded_text_or_an_error() {
        let mut random = fastrand::Rng::with_seed(1);
        let collations =
            [None, Some(63), Some(255), Some(8), Some(28), Some(54), Some(60), Some(13)];
        for kind in KINDS.into_iter().chain([Kind::Json, Kind::Json]) {
            for _ in 0..500 {
                let column = Column {
                    meta: if random.bool() { random.u16(0..10) } else { random.u16(..) },
                    unsigned: random.choice([None, Some(true), Some(false)]).flatten(),
                    collation: random.choice(collations).flatten(),
                    meaning: random.choice(MEANINGS).unwrap_or_default(),
                    labels: vec!["a".to_owned(), "\0e9".to_owned()],
                    ..column(kind, 0)
                };
                let length = random.usize(0..80);
                // Small numbers lead further into JSON and its like than large ones.
                let most = random.choice([3, 16, 128, 255]).unwrap_or(255);
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(..=most)).collect();
                check(&column, &bytes);
            }
        }
    }
}
