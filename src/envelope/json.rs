//! JSON's numbers and strings, appended to bytes without an allocation per value.

use std::io::Write as _;

use crate::binlog::value::push_base64;
pub(super) use crate::binlog::value::{push_json_string, push_signed, push_unsigned};

/// Appends whatever prints itself as JSON: numbers, mostly.
pub(super) fn push(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a Vec takes all");
}

/// A text that needs no escapes, in quotes.
pub(super) fn quoted(out: &mut Vec<u8>, make: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    make(out);
    out.push(b'"');
}

/// Appends bytes as a string of base64.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    quoted(out, |out| push_base64(bytes, out));
}
