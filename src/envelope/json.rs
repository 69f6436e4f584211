//! JSON's numbers and strings, appended to bytes without an allocation per value.

use std::io::Write as _;

pub(super) use crate::binlog::value::{push_json_string, push_signed, push_unsigned};

/// Appends whatever prints itself as JSON: numbers, mostly.
pub(super) fn push(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a Vec takes all");
}
