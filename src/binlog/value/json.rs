//! JSON: MySQL's binary form into the text that the server itself prints.
//!
//! The binary form is described in `sql-common/json_binary.h`, the text in `sql-common/json_dom.cc`:
//!
//! ```text
//!   document = type value
//!   object   = count size (key offset, key length)… (type, offset or the value itself)… keys values
//!   array    = count size (type, offset or the value itself)… values
//! ```
//!
//! Offsets count from the start of their object or array. They are the peer's, so each one is checked,
//! nesting is bounded by [`DEPTH_MAX`] and the text by what the bytes can honestly hold: offsets that
//! share a value cannot make it explode.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::decimal::Decimal;
use super::number_text::push_double;
use super::text::{push_date, push_datetime, push_time};
use super::{ValueError, temporal};

/// A JSON value as the log has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Json<'a> {
    /// MySQL's binary form; not checked yet.
    Binary(&'a [u8]),
    /// MariaDB's: the text that was stored.
    Text(Cow<'a, str>),
}

impl Json<'_> {
    /// Appends the text; MySQL's in the server's own form (`{"a": 1, "b": [1.0, null]}`).
    ///
    /// # Errors
    /// When the binary form is damaged. `out` may then hold a part.
    pub fn render(&self, out: &mut String) -> Result<(), ValueError> {
        match self {
            Self::Text(text) => out.push_str(text),
            // The server takes an empty value for a JSON null.
            Self::Binary([]) => out.push_str("null"),
            Self::Binary(bytes) => {
                let limit = out.len() + bytes.len().saturating_mul(EXPANSION_MAX) + 64;
                let fail = |what| ValueError { what, length: bytes.len() };
                let (kind, value) = bytes.split_first().ok_or_else(|| fail(SHORT))?;
                Writer { out, limit }.value(*kind, value, 0).map_err(fail)?;
            }
        }
        Ok(())
    }
}

/// The server's own limit on nesting (`JSON_DOCUMENT_MAX_DEPTH`).
const DEPTH_MAX: usize = 100;
/// No value's text is longer than this many times its bytes: a control character in a string takes 6,
/// an opaque time of 10 bytes takes 29, a number of 3 bytes takes 8.
const EXPANSION_MAX: usize = 8;

const SHORT: &str = "JSON: an offset or a length leads out of the value";

struct Writer<'o> {
    out: &'o mut String,
    limit: usize,
}

/// How an object or array stores its offsets.
#[derive(Clone, Copy)]
enum Width {
    Small,
    Large,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Large => 4,
        }
    }
}

impl Writer<'_> {
    fn value(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Result<(), &'static str> {
        // Every value writes at least one character, so this bounds the work as well.
        if self.out.len() > self.limit {
            return Err("JSON: values overlap");
        }
        match kind {
            0x00 => self.container(Width::Small, true, bytes, depth + 1)?,
            0x01 => self.container(Width::Large, true, bytes, depth + 1)?,
            0x02 => self.container(Width::Small, false, bytes, depth + 1)?,
            0x03 => self.container(Width::Large, false, bytes, depth + 1)?,
            0x04 => self.out.push_str(match bytes.first() {
                Some(0) => "null",
                Some(1) => "true",
                Some(2) => "false",
                _ => return Err("JSON: an unknown literal"),
            }),
            0x05 => self.number(i16::from_le_bytes(array(bytes)?)),
            0x06 => self.number(u16::from_le_bytes(array(bytes)?)),
            0x07 => self.number(i32::from_le_bytes(array(bytes)?)),
            0x08 => self.number(u32::from_le_bytes(array(bytes)?)),
            0x09 => self.number(i64::from_le_bytes(array(bytes)?)),
            0x0A => self.number(u64::from_le_bytes(array(bytes)?)),
            0x0B => push_double(f64::from_le_bytes(array(bytes)?), true, self.out),
            0x0C => self.string(counted(bytes)?)?,
            0x0F => {
                let (kind, rest) = bytes.split_first().ok_or(SHORT)?;
                self.opaque(*kind, counted(rest)?)?;
            }
            _ => return Err("JSON: an unknown type"),
        }
        Ok(())
    }

    fn container(
        &mut self,
        width: Width,
        is_object: bool,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(), &'static str> {
        if depth > DEPTH_MAX {
            return Err("JSON: nested too deeply");
        }
        let count = offset(bytes, 0, width)?;
        let size = offset(bytes, width.bytes(), width)?;
        let bytes = bytes.get(..size).ok_or(SHORT)?;
        let keys_at = 2 * width.bytes();
        let key_size = if is_object { width.bytes() + 2 } else { 0 };
        let value_size = 1 + width.bytes();
        let values_at = count.checked_mul(key_size).ok_or(SHORT)?.saturating_add(keys_at);
        if count.checked_mul(value_size).ok_or(SHORT)?.saturating_add(values_at) > bytes.len() {
            return Err("JSON: more members than bytes");
        }
        self.out.push(if is_object { '{' } else { '[' });
        for index in 0..count {
            if index > 0 {
                self.out.push_str(", ");
            }
            if is_object {
                let at = keys_at + index * key_size;
                let start = offset(bytes, at, width)?;
                let length = offset(bytes, at + width.bytes(), Width::Small)?;
                self.string(slice(bytes, start, length)?)?;
                self.out.push_str(": ");
            }
            let entry = slice(bytes, values_at + index * value_size, value_size)?;
            let (kind, inlined) = entry.split_first().ok_or(SHORT)?;
            if is_inlined(*kind, width) {
                self.value(*kind, inlined, depth)?;
            } else {
                let at = offset(inlined, 0, width)?;
                self.value(*kind, bytes.get(at..).ok_or(SHORT)?, depth)?;
            }
        }
        self.out.push(if is_object { '}' } else { ']' });
        Ok(())
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        write!(self.out, "{number}").expect("a String takes all");
    }

    /// Escapes as the server does: what JSON demands, and nothing else.
    fn string(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "JSON: a string is not UTF-8")?;
        self.out.push('"');
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, tail) = rest.split_at(at);
            self.out.push_str(plain);
            let mut chars = tail.chars();
            match chars.next() {
                Some('"') => self.out.push_str("\\\""),
                Some('\\') => self.out.push_str("\\\\"),
                Some('\u{8}') => self.out.push_str("\\b"),
                Some('\u{c}') => self.out.push_str("\\f"),
                Some('\n') => self.out.push_str("\\n"),
                Some('\r') => self.out.push_str("\\r"),
                Some('\t') => self.out.push_str("\\t"),
                Some(other) => {
                    write!(self.out, "\\u{:04x}", u32::from(other)).expect("a String takes all");
                }
                None => {}
            }
            rest = chars.as_str();
        }
        self.out.push_str(rest);
        self.out.push('"');
        Ok(())
    }

    /// A value of an SQL type that JSON does not have; `kind` is MySQL's `enum_field_types`.
    fn opaque(&mut self, kind: u8, bytes: &[u8]) -> Result<(), &'static str> {
        match kind {
            246 => {
                let ([precision, scale], digits) =
                    bytes.split_first_chunk().ok_or("JSON: a DECIMAL without precision")?;
                Decimal::decode(*precision, *scale, digits)?.push_text(self.out);
            }
            7 | 10 | 12 => {
                let packed = i64::from_le_bytes(array(bytes)?);
                let moment = temporal::packed_datetime(packed).ok_or("JSON: an impossible date")?;
                self.out.push('"');
                if kind == 10 {
                    push_date(moment.date, self.out);
                } else {
                    push_datetime(&moment, self.out);
                }
                self.out.push('"');
            }
            11 => {
                let packed = i64::from_le_bytes(array(bytes)?);
                let time = temporal::packed_time(packed).ok_or("JSON: an impossible time")?;
                self.out.push('"');
                push_time(&time, self.out);
                self.out.push('"');
            }
            _ => {
                write!(self.out, "\"base64:type{kind}:").expect("a String takes all");
                // The server breaks its base64 into lines of 76, and JSON escapes the break.
                for (index, line) in bytes.chunks(57).enumerate() {
                    if index > 0 {
                        self.out.push_str("\\n");
                    }
                    super::text::push_base64(line, self.out);
                }
                self.out.push('"');
            }
        }
        Ok(())
    }
}

/// Whether the value stands where its offset would.
fn is_inlined(kind: u8, width: Width) -> bool {
    matches!((kind, width), (0x04..=0x06, _) | (0x07 | 0x08, Width::Large))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
    bytes.first_chunk().copied().ok_or(SHORT)
}

fn slice(bytes: &[u8], start: usize, length: usize) -> Result<&[u8], &'static str> {
    start.checked_add(length).and_then(|end| bytes.get(start..end)).ok_or(SHORT)
}

fn offset(bytes: &[u8], at: usize, width: Width) -> Result<usize, &'static str> {
    let bytes = slice(bytes, at, width.bytes())?;
    usize::try_from(super::little_endian(bytes)).map_err(|_| SHORT)
}

/// Bytes behind their length, which takes 7 bits of each of up to 5 bytes.
fn counted(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return slice(bytes, index + 1, usize::try_from(length).map_err(|_| SHORT)?);
        }
    }
    Err("JSON: a length of more than 5 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, ValueError> {
        let mut out = String::new();
        Json::Binary(bytes).render(&mut out)?;
        Ok(out)
    }

    /// `{"a": 1, "b": [true, "x", 1.5]}` as MySQL writes it.
    const SAMPLE: &[u8] = &[
        0x00, 2, 0, 43, 0, // object: 2 members, 43 bytes
        18, 0, 1, 0, 19, 0, 1, 0, // keys at 18 and 19
        0x05, 1, 0, 0x02, 20, 0, // 1, and an array at 20
        b'a', b'b', //
        3, 0, 23, 0, // array: 3 members, 23 bytes
        0x04, 1, 0, 0x0C, 13, 0, 0x0B, 15, 0, // true, a string at 13, a double at 15
        1, b'x', 0, 0, 0, 0, 0, 0, 0xF8, 0x3F,
    ];

    #[test]
    fn a_document_reads_as_the_server_prints_it() {
        assert_eq!(text(SAMPLE).unwrap(), r#"{"a": 1, "b": [true, "x", 1.5]}"#);
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(b"\x0C\x04\x00\n\"\x7f").unwrap(), "\"\\u0000\\n\\\"\u{7f}\"");
    }

    #[test]
    fn opaque_values_read_as_the_server_prints_them() {
        assert_eq!(text(&[0x0F, 246, 4, 3, 2, 0x81, 0x32]).unwrap(), "1.50");
        assert_eq!(text(b"\x0F\x0F\x02\x01\x02").unwrap(), "\"base64:type15:AQI=\"");
        let long: Vec<u8> = [&[0x0F, 15, 100][..], &[1; 100]].concat();
        assert!(text(&long).unwrap().contains("AQEB\\nAQEB"));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_ends_in_text_or_an_error() {
        for length in 1..SAMPLE.len() {
            assert!(text(&SAMPLE[..length]).is_err(), "cut at {length}");
        }
        for at in 0..SAMPLE.len() {
            for byte in 0..=255 {
                let mut bytes = SAMPLE.to_vec();
                bytes[at] = byte;
                if let Ok(text) = text(&bytes) {
                    assert!(text.len() <= bytes.len() * EXPANSION_MAX + 64 + 64);
                }
            }
        }
    }

    #[test]
    fn values_that_share_bytes_cannot_explode() {
        // Arrays of 20 members that all point to the next array.
        let (levels, members) = (60_u16, 20_u16);
        let size = 4 + 3 * members;
        let mut bytes = vec![0x02];
        for level in 0..levels {
            let left = (levels - level) * size;
            bytes.extend(members.to_le_bytes());
            bytes.extend(left.to_le_bytes());
            for _ in 0..members {
                bytes.push(if level + 1 == levels { 0x04 } else { 0x02 });
                bytes.extend(if level + 1 == levels { 0 } else { size }.to_le_bytes());
            }
        }
        assert_eq!(text(&bytes).unwrap_err().what, "JSON: values overlap");
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = vec![0x02];
        for level in (0..200_u16).rev() {
            bytes.extend([1, 0]);
            bytes.extend((7 * (level + 1)).to_le_bytes());
            bytes.extend([0x02, 7, 0]);
        }
        assert_eq!(text(&bytes).unwrap_err().what, "JSON: nested too deeply");
    }
}
