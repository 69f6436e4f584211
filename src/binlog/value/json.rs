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
//! Offsets count from the start of their object or array, and lead behind the lists at its head. They are the
//! peer's, so each one is checked, nesting is bounded by [`DEPTH_MAX`] and the text by what the bytes can
//! honestly hold: offsets that share a value cannot make it explode.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::digits::{push_base64, push_json_string, push_signed, push_unsigned};
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
    /// Appends the text, in UTF-8; MySQL's in the server's own form (`{"a": 1, "b": [1.0, null]}`).
    ///
    /// # Errors
    /// When the binary form is damaged. `out` may then hold a part.
    pub fn render(&self, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Binary(bytes) => {
                let fail = |what| ValueError { what, length: bytes.len() };
                let document = Document::of(bytes);
                Writer::new(out, bytes.len()).document(document, 0).map_err(fail)?;
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
pub(super) const OVERLAP: &str = "JSON: values overlap";

/// A type and, at the start of the bytes, its value.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Document<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        // The server takes an empty value for a JSON null.
        let (kind, bytes) = bytes.split_first().unwrap_or((&LITERAL, &[0]));
        Self { kind: *kind, bytes }
    }

    /// The object or array that it is, if it is one.
    #[inline]
    pub(super) fn container(&self) -> Result<Option<Container<'a>>, &'static str> {
        match self.kind {
            0x00 => Container::new(Width::Small, true, self.bytes),
            0x01 => Container::new(Width::Large, true, self.bytes),
            0x02 => Container::new(Width::Small, false, self.bytes),
            0x03 => Container::new(Width::Large, false, self.bytes),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

const LITERAL: u8 = 0x04;

/// How an object or array stores its offsets.
#[derive(Clone, Copy)]
enum Width {
    Small = 2,
    Large = 4,
}

/// An object or an array whose lists fit into its bytes.
pub(super) struct Container<'a> {
    /// From its count to its end.
    bytes: &'a [u8],
    width: Width,
    /// Empty for an array.
    keys: &'a [u8],
    values: &'a [u8],
    /// Where the lists end; nothing that they lead to begins before.
    heads: usize,
    is_object: bool,
    count: usize,
}

/// One member of an object or an array.
pub(super) struct Member<'a> {
    /// Empty in an array. Not checked to be UTF-8.
    pub(super) key: &'a [u8],
    pub(super) value: Document<'a>,
}

impl<'a> Container<'a> {
    fn new(width: Width, is_object: bool, bytes: &'a [u8]) -> Result<Self, &'static str> {
        let offset_bytes = width as usize;
        let (count, rest) = number(width, bytes)?;
        let (size, _) = number(width, rest)?;
        let bytes = bytes.get(..size).ok_or(SHORT)?;
        let lists = bytes.get(2 * offset_bytes..).ok_or(SHORT)?;
        let split = |lists: &'a [u8], entry: usize| {
            let length = count.checked_mul(entry).ok_or(MANY)?;
            lists.split_at_checked(length).ok_or(MANY)
        };
        let (keys, lists) = split(lists, if is_object { offset_bytes + 2 } else { 0 })?;
        let (values, rest) = split(lists, offset_bytes + 1)?;
        let heads = bytes.len() - rest.len();
        Ok(Self { bytes, width, keys, values, heads, is_object, count })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn is_object(&self) -> bool {
        self.is_object
    }

    pub(super) fn members(self) -> impl Iterator<Item = Result<Member<'a>, &'static str>> {
        let offset_bytes = self.width as usize;
        let mut keys = self.keys.chunks_exact(offset_bytes + 2);
        self.values.chunks_exact(offset_bytes + 1).map(move |entry| {
            let key = if self.is_object { self.key(keys.next().ok_or(SHORT)?)? } else { &[] };
            Ok(Member { key, value: self.value(entry)? })
        })
    }

    #[inline]
    fn key(&self, entry: &[u8]) -> Result<&'a [u8], &'static str> {
        let (start, length) = number(self.width, entry)?;
        let (length, _) = number(Width::Small, length)?;
        let end = start.checked_add(length).ok_or(SHORT)?;
        self.bytes.get(start..end).filter(|_| start >= self.heads).ok_or(SHORT)
    }

    #[inline]
    fn value(&self, entry: &'a [u8]) -> Result<Document<'a>, &'static str> {
        let (kind, inlined) = entry.split_first().ok_or(SHORT)?;
        if is_inlined(*kind, self.width) {
            return Ok(Document { kind: *kind, bytes: inlined });
        }
        let (at, _) = number(self.width, inlined)?;
        let bytes = self.bytes.get(at..).filter(|_| at >= self.heads).ok_or(SHORT)?;
        Ok(Document { kind: *kind, bytes })
    }
}

const MANY: &str = "JSON: more members than bytes";

/// Whether the value stands where its offset would.
fn is_inlined(kind: u8, width: Width) -> bool {
    matches!((kind, width), (0x04..=0x06, _) | (0x07 | 0x08, Width::Large))
}

/// A count, size or offset, and what is behind it.
#[inline]
fn number(width: Width, bytes: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    match width {
        Width::Small => {
            let (number, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
            Ok((usize::from(u16::from_le_bytes(*number)), rest))
        }
        Width::Large => {
            let (number, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
            Ok((usize::try_from(u32::from_le_bytes(*number)).map_err(|_| SHORT)?, rest))
        }
    }
}

/// Writes documents as text.
pub(super) struct Writer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    limit: usize,
}

impl<'o> Writer<'o> {
    /// Behind what is in `out`, no more than documents of so many bytes can honestly say.
    pub(super) fn new(out: &'o mut Vec<u8>, bytes: usize) -> Self {
        let limit = out.len() + bytes.saturating_mul(EXPANSION_MAX) + 64;
        Self { out, limit }
    }

    pub(super) fn raw(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// Between the members of an object or array.
    pub(super) fn separate(&mut self, index: usize) {
        if index > 0 {
            self.raw(b", ");
        }
    }

    pub(super) fn key(&mut self, key: &[u8]) -> Result<(), &'static str> {
        self.string(key)?;
        self.raw(b": ");
        Ok(())
    }

    /// Whether an object or array may stand inside of so many others.
    pub(super) fn deeper(&self, depth: usize) -> Result<(), &'static str> {
        if depth < DEPTH_MAX { Ok(()) } else { Err("JSON: nested too deeply") }
    }

    /// A document inside of `depth` objects and arrays.
    pub(super) fn document(
        &mut self,
        document: Document<'_>,
        depth: usize,
    ) -> Result<(), &'static str> {
        // Every value writes at least one character, so this bounds the work as well.
        if self.out.len() > self.limit {
            return Err(OVERLAP);
        }
        let bytes = document.bytes;
        match document.kind {
            0x00..=0x03 => {
                if let Some(container) = document.container()? {
                    self.container(container, depth)?;
                }
            }
            LITERAL => self.raw(match bytes.first() {
                Some(0) => b"null",
                Some(1) => b"true",
                Some(2) => b"false",
                _ => return Err("JSON: an unknown literal"),
            }),
            0x05 => push_signed(i16::from_le_bytes(array(bytes)?).into(), self.out),
            0x06 => push_unsigned(u16::from_le_bytes(array(bytes)?).into(), self.out),
            0x07 => push_signed(i32::from_le_bytes(array(bytes)?).into(), self.out),
            0x08 => push_unsigned(u32::from_le_bytes(array(bytes)?).into(), self.out),
            0x09 => push_signed(i64::from_le_bytes(array(bytes)?), self.out),
            0x0A => push_unsigned(u64::from_le_bytes(array(bytes)?), self.out),
            0x0B => {
                let number = f64::from_le_bytes(array(bytes)?);
                if !number.is_finite() {
                    return Err("JSON: a DOUBLE that is not finite");
                }
                push_double(number, true, self.out);
            }
            0x0C => self.string(counted(bytes)?)?,
            0x0F => {
                let (kind, rest) = bytes.split_first().ok_or(SHORT)?;
                self.opaque(*kind, counted(rest)?)?;
            }
            _ => return Err("JSON: an unknown type"),
        }
        Ok(())
    }

    fn container(&mut self, container: Container<'_>, depth: usize) -> Result<(), &'static str> {
        self.deeper(depth)?;
        let is_object = container.is_object;
        self.out.push(if is_object { b'{' } else { b'[' });
        for (index, member) in container.members().enumerate() {
            let Member { key, value } = member?;
            self.separate(index);
            if is_object {
                self.key(key)?;
            }
            self.document(value, depth + 1)?;
        }
        self.out.push(if is_object { b'}' } else { b']' });
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "JSON: a string is not UTF-8")?;
        push_json_string(text.as_bytes(), self.out);
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
                let moment = temporal::packed_datetime(packed(bytes)?)?;
                self.raw(b"\"");
                if kind == 10 {
                    push_date(moment.date, self.out);
                } else {
                    push_datetime(&moment, self.out);
                }
                self.raw(b"\"");
            }
            11 => {
                let time = temporal::packed_time(packed(bytes)?)?;
                self.raw(b"\"");
                push_time(&time, self.out);
                self.raw(b"\"");
            }
            _ => {
                self.raw(b"\"base64:type");
                push_unsigned(kind.into(), self.out);
                self.raw(b":");
                // The server breaks its base64 into lines of 76, and JSON escapes the break.
                for (index, line) in bytes.chunks(57).enumerate() {
                    if index > 0 {
                        self.raw(b"\\n");
                    }
                    push_base64(line, self.out);
                }
                self.raw(b"\"");
            }
        }
        Ok(())
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
    bytes.first_chunk().copied().ok_or(SHORT)
}

/// Date and time inside of JSON.
fn packed(bytes: &[u8]) -> Result<i64, &'static str> {
    let packed = bytes.try_into().map_err(|_| "JSON: a date or time is not 8 bytes")?;
    Ok(i64::from_le_bytes(packed))
}

/// Bytes behind their length, which takes 7 bits of each of up to 5 bytes.
fn counted(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let (_, rest) = bytes.split_at(index + 1);
            return rest.get(..usize::try_from(length).map_err(|_| SHORT)?).ok_or(SHORT);
        }
    }
    Err("JSON: a length of more than 5 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, ValueError> {
        let mut out = Vec::new();
        Json::Binary(bytes).render(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
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
