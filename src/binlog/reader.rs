//! Checked reads from the bytes of one event, and the one error of this room.

use std::fmt;

use super::header::EventKind;
use super::table::Table;

/// A cursor over bytes of one event.
///
/// Each read names the field it wants, so that a failure explains itself: `rows: column count at
/// +27: wanted 1 bytes, 0 left`. No read panics, whatever the bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of an event.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Reads from a part of an event that starts `at` bytes behind the event's start.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    /// Bytes from the start of the event to the next read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes. Fails if there are fewer.
    #[inline]
    pub fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.truncated(len, field));
        };
        self.advance(rest);
        Ok(head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Two bytes, big-endian.
    pub fn u16_be(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Three bytes, little-endian.
    #[inline]
    pub fn u24(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let [a, b, c] = self.array(field)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Six bytes, little-endian.
    pub fn u48(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let [a, b, c, d, e, f] = self.array(field)?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Seven bytes, little-endian.
    pub fn u56(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let [a, b, c, d, e, f, g] = self.array(field)?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The servers' variable-length integer (`net_field_length_ll`).
    pub fn lenenc(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(match self.u8(field)? {
            small @ 0..=250 => u64::from(small),
            0xfc => u64::from(self.u16(field)?),
            0xfd => u64::from(self.u24(field)?),
            0xfe => self.u64(field)?,
            // 251 means NULL inside a text row and 255 starts an error packet: neither is a length.
            marker @ (251 | 255) => return Err(self.invalid(marker.into(), field)),
        })
    }

    /// A length as [`Self::lenenc`] has it, and as many bytes.
    pub fn lenenc_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.lenenc(field)?;
        let Ok(len) = usize::try_from(len) else { return Err(self.invalid(len, field)) };
        self.bytes(len, field)
    }

    /// The variable-length integer of MySQL's `libs/mysql/serialization`: as many one bits at the
    /// low end of the first byte as there are further bytes.
    pub fn varlen(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let first = self.u8(field)?;
        let further = first.trailing_ones();
        let tail = self.bytes(further as usize, field)?;
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(tail) {
            *to = *from;
        }
        let tail = u64::from_le_bytes(value);
        // The first byte's own share is what its marker leaves of it: 7 bits less one per byte.
        let own_bits = 7_u32.saturating_sub(further);
        let own = u64::from(first).checked_shr(further + 1).unwrap_or(0);
        if own_bits > 0 && tail.leading_zeros() < own_bits {
            return Err(self.invalid(tail, field));
        }
        Ok((tail << own_bits) | own)
    }

    /// [`Self::varlen`] for signed numbers: the sign is the lowest bit.
    pub fn varlen_signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let raw = self.varlen(field)?;
        let magnitude = (raw >> 1).cast_signed();
        Ok(if raw & 1 == 0 { magnitude } else { !magnitude })
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let all = self.rest;
        self.advance(&[]);
        all
    }

    /// All that is left, without reading it.
    pub fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on at `rest`, a tail of what is left.
    #[inline]
    pub(super) fn skip_to(&mut self, rest: &'a [u8]) {
        debug_assert!(self.rest.ends_with(rest));
        self.advance(rest);
    }

    /// Ends the reading. Fails if bytes are left over, for then the event was misunderstood.
    pub fn finish(self, field: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.error(field, Reason::Trailing { left })),
        }
    }

    /// The error for a value that was just read and is not legal.
    pub fn invalid(&self, value: u64, field: &'static str) -> DecodeError {
        self.error(field, Reason::Invalid { value })
    }

    /// An error at this place.
    pub fn error(&self, field: &'static str, reason: Reason) -> DecodeError {
        DecodeError { at: self.at, field, column: None, reason }
    }

    /// So many bytes.
    #[inline]
    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk() else {
            return Err(self.truncated(N, field));
        };
        self.advance(rest);
        Ok(*head)
    }

    #[cold]
    fn truncated(&self, wanted: usize, field: &'static str) -> DecodeError {
        self.error(field, Reason::Truncated { wanted, left: self.rest.len() })
    }

    #[inline]
    fn advance(&mut self, rest: &'a [u8]) {
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
    }
}

/// Bytes that are not the event they claim to be, or an event that cannot be carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeError {
    /// Bytes from the start of the event.
    pub at: usize,
    /// What was being read.
    pub field: &'static str,
    /// The column, from 0, where a row or a column's description is at fault.
    pub column: Option<u16>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A value that the format does not allow, or that is beyond a limit.
    Invalid {
        /// The value.
        value: u64,
    },
    /// More bytes than the event's parts need.
    Trailing {
        /// How many.
        left: usize,
    },
    /// Fewer bytes than the field needs.
    Truncated {
        /// What the field needs.
        wanted: usize,
        /// What there is.
        left: usize,
    },
    /// The event's CRC32 is another one than its bytes have.
    Checksum {
        /// What the event says.
        stored: u32,
        /// What its bytes have.
        computed: u32,
    },
    /// Text that must be UTF-8 and is not.
    NotUtf8,
    /// Something that must have come before did not.
    Missing {
        /// What.
        what: &'static str,
    },
    /// Well formed, and not something that Rivulet can carry.
    Unsupported {
        /// What, and where that is known why.
        what: &'static str,
    },
    /// A change that was logged as a statement.
    Statement {
        /// What kind of statement; no word of its own.
        kind: &'static str,
    },
    /// An event of a kind that is not known and that the server does not call ignorable.
    UnknownEvent {
        /// Its type byte.
        code: u8,
    },
    /// An event where the protocol of transactions does not allow it.
    OutOfPlace {
        /// What arrived.
        kind: EventKind,
        /// When it arrived.
        when: &'static str,
    },
}

impl DecodeError {
    /// The same error, of this column.
    #[must_use]
    pub fn of_column(mut self, index: usize) -> Self {
        self.column = u16::try_from(index).ok();
        self
    }

    /// The same error with the names of the table and the column in its text.
    pub fn in_table<'t>(&self, table: &'t Table) -> InTable<'t> {
        InTable { error: *self, table }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = self.column {
            write!(f, "column @{}: ", u32::from(column) + 1)?;
        }
        write!(f, "{} at +{}: {}", self.field, self.at, self.reason)
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { value } => write!(f, "{value} is not a legal value"),
            Self::Trailing { left } => write!(f, "{left} bytes too many"),
            Self::Truncated { wanted, left } => write!(f, "wanted {wanted} bytes, {left} left"),
            Self::Checksum { stored, computed } => {
                write!(f, "the checksum says {stored:08x}, the bytes say {computed:08x}")
            }
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Missing { what } => write!(f, "{what} is missing"),
            Self::Unsupported { what } => write!(f, "not supported: {what}"),
            Self::Statement { kind } => write!(
                f,
                "a change logged as a statement ({kind}): its rows are not in the log \
                 (binlog_format must be ROW; `on_statement = \"skip-and-report\"` leaves it out)"
            ),
            Self::UnknownEvent { code } => {
                write!(f, "event type {code} is not known, and it is not marked as ignorable")
            }
            Self::OutOfPlace { kind, when } => write!(f, "{} {when}", kind.name()),
        }
    }
}

/// A [`DecodeError`] that says which table and column it means.
#[derive(Clone, Copy, Debug)]
pub struct InTable<'t> {
    error: DecodeError,
    table: &'t Table,
}

impl fmt::Display for InTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table.schema, self.table.name)?;
        let column = self.error.column.and_then(|index| self.table.columns.get(usize::from(index)));
        if let Some(column) = column {
            write!(f, ".{}", column.name)?;
        }
        write!(f, ": {} at +{}: {}", self.error.field, self.error.at, self.error.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_event_says_what_is_missing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u8("flags").unwrap();
        let error = reader.u48("table id").unwrap_err();
        assert_eq!(error.to_string(), "table id at +1: wanted 6 bytes, 2 left");
    }

    #[test]
    fn every_lenenc_marker_has_a_meaning() {
        for (bytes, want) in [
            (&[0][..], Ok(0)),
            (&[250], Ok(250)),
            (&[0xfc, 0xfb, 0x00], Ok(251)),
            (&[0xfd, 0x00, 0x00, 0x01], Ok(0x1_0000)),
            (&[0xfe, 0, 0, 0, 1, 0, 0, 0, 0], Ok(0x0100_0000)),
            (&[251], Err(251)),
            (&[255], Err(255)),
        ] {
            let got = Reader::new(bytes).lenenc("length");
            match want {
                Ok(value) => assert_eq!(got, Ok(value), "{bytes:?}"),
                Err(value) => {
                    assert_eq!(got.unwrap_err().reason, Reason::Invalid { value }, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn a_varlen_integer_tells_its_length_by_low_ones() {
        for (bytes, want) in [
            (&[0x00][..], 0),
            (&[0x06], 3),
            (&[0x91, 0x02], 0xa4),
            (&[0x83, 0x12, 0x0b], 90704),
            (&[0x7f, 1, 0, 0, 0, 0, 0, 0], 1),
            (&[0xff, 255, 255, 255, 255, 255, 255, 255, 255], u64::MAX),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varlen("number"), Ok(want), "{bytes:?}");
            assert!(reader.is_empty(), "{bytes:?}");
        }
        assert!(Reader::new(&[0x01]).varlen("number").is_err());
        assert_eq!(Reader::new(&[0x06]).varlen_signed("number"), Ok(-2));
        assert_eq!(Reader::new(&[0x08]).varlen_signed("number"), Ok(2));
    }
}
