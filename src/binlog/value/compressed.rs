//! MariaDB's compressed columns: the stored bytes behind a header byte.
//!
//! `sql/field_comp.cc`: 0 is followed by the plain bytes. In the header of zlib (0x80) the lowest three bits
//! count the big-endian bytes of the plain length that follow, and bit 3 says that the stream has no
//! header and checksum of its own. An empty value is stored as nothing at all.

use std::borrow::Cow;

use super::inflate::inflate;
use super::{Value, big_endian, read_text};
use crate::binlog::table::Column;

/// Reads one value of a compressed column.
pub(super) fn decode<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, &'static str> {
    let plain = match bytes.split_first() {
        None => Cow::Borrowed(bytes),
        Some((0, plain)) => Cow::Borrowed(plain),
        Some((header, rest)) if header & 0xF0 == 0x80 => {
            let (length, stream) =
                rest.split_at_checked(usize::from(header & 7)).ok_or("COMPRESSED: no length")?;
            let stream = if header & 8 == 0 { without_wrap(stream)? } else { stream };
            let length = usize::try_from(big_endian(length)).map_err(|_| "COMPRESSED: too long")?;
            Cow::Owned(inflate(stream, length)?)
        }
        Some(_) => return Err("COMPRESSED: an unknown method"),
    };
    Ok(read_text(column.collation, plain))
}

/// Cuts off zlib's header and its Adler-32; the event's own checksum has guarded the bytes.
fn without_wrap(stream: &[u8]) -> Result<&[u8], &'static str> {
    let end = stream.len().saturating_sub(4);
    stream.get(2..end).ok_or("COMPRESSED: shorter than zlib's header and checksum")
}
