//! A binlog's events counted by their headers alone: 4 bytes of magic, then 19 bytes per event.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// How many events of each type code these files hold.
pub fn count(files: &[PathBuf]) -> BTreeMap<u8, u64> {
    let mut counts = BTreeMap::new();
    for file in files {
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut at = 4;
        while at < bytes.len() {
            let header = &bytes[at..at + 19];
            *counts.entry(header[4]).or_insert(0) += 1;
            let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
            assert!(length >= 19, "{}: an event of {length} bytes at {at}", file.display());
            at += length as usize;
        }
    }
    counts
}
