//! MariaDB's compressed columns: the stored bytes behind a header byte.
//!
//! `sql/field_comp.cc`: the header's upper half is the method, 0 for none and 8 for zlib; for zlib its
//! lowest three bits count the big-endian bytes of the plain length that follow, and bit 3 says that the
//! stream comes without zlib's own header.

use std::borrow::Cow;

use super::{Value, read_text};
use crate::binlog::table::Column;

/// Reads one value of a compressed column.
pub(super) fn decode<'a>(column: &Column, bytes: &'a [u8]) -> Result<Value<'a>, &'static str> {
    match bytes.split_first() {
        // An empty value is stored as nothing at all.
        None => Ok(read_text(column.collation, Cow::Borrowed(bytes))),
        Some((0, plain)) => Ok(read_text(column.collation, Cow::Borrowed(plain))),
        Some(_) => Err("COMPRESSED: an unknown method"),
    }
}
