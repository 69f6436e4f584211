//! How many bytes a column's value takes in a row image.
//!
//! Source: `calc_field_size` in `libs/mysql/binlog/event/binary_log_funcs.cpp`.

use super::old_temporal;
use super::reader::{DecodeError, Reader, Reason};
use super::table::{Column, Kind};

/// The bytes of a value in a row image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Width {
    /// Always as many.
    Fixed(usize),
    /// A little-endian length of this many bytes (1 to 4), then the value.
    Prefixed(usize),
}

/// The width of a column's values; `None` if type and metadata do not go together or if the type
/// cannot be read.
#[inline(always)]
pub fn width(kind: Kind, meta: u16) -> Option<Width> {
    use Width::{Fixed, Prefixed};
    let [low, high] = meta.to_le_bytes();
    Some(match kind {
        Kind::Tiny | Kind::Year => Fixed(1),
        Kind::Short => Fixed(2),
        Kind::Int24 | Kind::Date | Kind::NewDate => Fixed(3),
        Kind::Long | Kind::Float => Fixed(4),
        Kind::LongLong | Kind::Double => Fixed(8),
        Kind::Timestamp | Kind::Time | Kind::DateTime => Fixed(old_temporal::width(kind, meta)?),
        Kind::Null => Fixed(0),
        Kind::Timestamp2 if meta <= 6 => Fixed(4 + fraction(low)),
        Kind::DateTime2 if meta <= 6 => Fixed(5 + fraction(low)),
        Kind::Time2 if meta <= 6 => Fixed(3 + fraction(low)),
        Kind::NewDecimal => Fixed(decimal(low, high)?),
        Kind::Bit if low < 8 && high <= 8 => Fixed(usize::from(high) + usize::from(low > 0)),
        Kind::Enum if matches!(meta, 1 | 2) => Fixed(meta.into()),
        Kind::Set if matches!(meta, 1..=8) => Fixed(meta.into()),
        Kind::Varchar | Kind::VarString | Kind::VarcharCompressed | Kind::String => {
            Prefixed(if meta > 255 { 2 } else { 1 })
        }
        Kind::Blob | Kind::TinyBlob | Kind::MediumBlob | Kind::LongBlob
            if matches!(meta, 1..=4) =>
        {
            Prefixed(meta.into())
        }
        Kind::Json | Kind::Geometry | Kind::Vector | Kind::BlobCompressed
            if matches!(meta, 1..=4) =>
        {
            Prefixed(meta.into())
        }
        _ => return None,
    })
}

/// The bytes of the length before the column's values in a row image: 1 to 4, or 0 for types of
/// fixed width. What [`super::rows::Cell::Value`] holds comes without it.
pub fn length_prefix_bytes(column: &Column) -> usize {
    match width(column.kind, column.meta) {
        Some(Width::Prefixed(bytes)) => bytes,
        Some(Width::Fixed(_)) | None => 0,
    }
}

/// The bytes that the column's value takes at the start of `bytes`, its length included.
///
/// Fails if there are fewer, or if the type cannot be read.
pub fn value_len(column: &Column, bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    split(column, &mut reader)?;
    Ok(reader.at())
}

/// The column's value at the start of `bytes`, without its length, and what follows it; `None` if
/// there are fewer bytes or if the type cannot be read, and then [`split`] says why.
#[inline(always)]
pub(super) fn take<'a>(column: &Column, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    // Most columns need no look at their metadata.
    let plain = PLAIN.get(column.kind as usize).copied().unwrap_or(0);
    if plain > 0 {
        return bytes.split_at_checked(plain.into());
    }
    let (len, rest) = match width(column.kind, column.meta)? {
        Width::Fixed(len) => (len, bytes),
        Width::Prefixed(1) => {
            let (len, rest) = bytes.split_first()?;
            (usize::from(*len), rest)
        }
        Width::Prefixed(2) => {
            let (len, rest) = bytes.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        Width::Prefixed(3) => {
            let ([low, middle, high], rest) = bytes.split_first_chunk()?;
            (u32::from_le_bytes([*low, *middle, *high, 0]) as usize, rest)
        }
        Width::Prefixed(_) => {
            let (len, rest) = bytes.split_first_chunk()?;
            (u32::from_le_bytes(*len) as usize, rest)
        }
    };
    rest.split_at_checked(len)
}

/// [`width`] of the kinds whose metadata does not matter, else 0.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const PLAIN: [u8; 256] = {
    let mut widths = [0; 256];
    widths[Kind::Tiny as usize] = 1;
    widths[Kind::Year as usize] = 1;
    widths[Kind::Short as usize] = 2;
    widths[Kind::Int24 as usize] = 3;
    widths[Kind::Long as usize] = 4;
    widths[Kind::Float as usize] = 4;
    widths[Kind::LongLong as usize] = 8;
    widths[Kind::Double as usize] = 8;
    widths
};

/// Takes the column's value off a row image, without its length.
pub(super) fn split<'a>(column: &Column, reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    const FIELD: &str = "row: value";
    const LENGTH: &str = "row: length of a value";
    let len = match width(column.kind, column.meta) {
        Some(Width::Fixed(len)) => len,
        Some(Width::Prefixed(1)) => reader.u8(LENGTH)?.into(),
        Some(Width::Prefixed(2)) => reader.u16(LENGTH)?.into(),
        Some(Width::Prefixed(3)) => reader.u24(LENGTH)? as usize,
        Some(Width::Prefixed(_)) => reader.u32(LENGTH)? as usize,
        None => return Err(unreadable(column, reader)),
    };
    reader.bytes(len, FIELD)
}

#[cold]
fn unreadable(column: &Column, reader: &Reader<'_>) -> DecodeError {
    let what = match column.kind {
        Kind::OldDecimal => "DECIMAL of MySQL 4 and before",
        _ => "a type whose metadata makes no sense",
    };
    reader.error("row: type", Reason::Unsupported { what })
}

/// The bytes of a fraction of a second with this many digits.
fn fraction(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

/// Bytes at a value's end that hold what is behind its point or its seconds; 0 for a type without such.
pub(crate) fn fraction_bytes(kind: Kind, meta: u16) -> usize {
    let [low, high] = meta.to_le_bytes();
    match kind {
        Kind::Timestamp2 | Kind::DateTime2 | Kind::Time2 => fraction(low),
        Kind::NewDecimal => digits_bytes(high).unwrap_or(0),
        _ => 0,
    }
}

/// `decimal_bin_size`: groups of nine digits take four bytes.
#[inline(always)]
fn decimal(precision: u8, scale: u8) -> Option<usize> {
    let whole = precision.checked_sub(scale)?;
    Some(digits_bytes(whole)? + digits_bytes(scale)?)
}

/// `None` for more digits than a DECIMAL has.
#[inline(always)]
fn digits_bytes(count: u8) -> Option<usize> {
    DECIMAL_BYTES.get(usize::from(count)).copied().map(usize::from)
}

/// The bytes of this many digits on one side of the point; no DECIMAL has more than 65.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const DECIMAL_BYTES: [u8; 66] = {
    let (mut bytes, mut count) = ([0; 66], 0);
    while count < bytes.len() {
        bytes[count] = (count / 9 * 4 + [0, 1, 1, 2, 2, 3, 3, 4, 4][count % 9]) as u8;
        count += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_servers() {
        use Width::{Fixed, Prefixed};
        for (kind, meta, want) in [
            (Kind::NewDecimal, u16::from_le_bytes([10, 2]), Some(Fixed(5))),
            (Kind::NewDecimal, u16::from_le_bytes([65, 30]), Some(Fixed(30))),
            (Kind::NewDecimal, u16::from_le_bytes([1, 2]), None),
            (Kind::NewDecimal, u16::from_le_bytes([66, 0]), None),
            (Kind::Timestamp2, 3, Some(Fixed(6))),
            (Kind::DateTime2, 6, Some(Fixed(8))),
            (Kind::Time2, 7, None),
            (Kind::Bit, u16::from_le_bytes([1, 1]), Some(Fixed(2))),
            (Kind::Bit, u16::from_le_bytes([0, 8]), Some(Fixed(8))),
            (Kind::Varchar, 255, Some(Prefixed(1))),
            (Kind::Varchar, 256, Some(Prefixed(2))),
            (Kind::String, 1020, Some(Prefixed(2))),
            (Kind::Blob, 3, Some(Prefixed(3))),
            (Kind::Blob, 5, None),
            (Kind::OldDecimal, 0, None),
            (Kind::Time, 0, Some(Fixed(3))),
            (Kind::Time, 6, Some(Fixed(6))),
            (Kind::DateTime, 7, None),
        ] {
            assert_eq!(width(kind, meta), want, "{kind:?} {meta}");
        }
    }

    #[test]
    fn what_is_taken_fast_is_what_is_taken_with_care() {
        let bytes: Vec<u8> = (0..=255).cycle().skip(3).take(600).collect();
        for code in 0..=255 {
            let Some(kind) = super::super::table_map::kind_of(code) else { continue };
            for meta in (0..=300).chain([0x0208, 0x020a, 0x1e41, 0x0103, 0x0801]) {
                let column = Column { kind, meta, ..Column::default() };
                for len in [0, 1, 2, 3, 4, 5, 8, 9, 30, 600] {
                    let mut reader = Reader::new(&bytes[..len]);
                    let careful = split(&column, &mut reader).ok();
                    let fast = take(&column, &bytes[..len]);
                    assert_eq!(fast.map(|it| it.0), careful, "{kind:?} {meta} {len}");
                    assert!(fast.is_none_or(|it| it.1 == reader.peek()));
                }
            }
        }
    }

    #[test]
    fn a_value_is_measured_with_its_length() {
        let column = Column { kind: Kind::Varchar, meta: 300, ..Column::default() };
        assert_eq!(value_len(&column, &[2, 0, b'a', b'b', 9]), Ok(4));
        assert_eq!(length_prefix_bytes(&column), 2);
        assert!(value_len(&column, &[3, 0, b'a', b'b']).is_err());
    }
}
