//! What holds for anything that a server or its folder says: the properties that tests and fuzzers share.

use super::columns::{ColumnInfo, complete};
use super::files;
use crate::binlog::table::{Column, Kind, Table};

/// An index file: each entry is a line of it and leads nowhere up.
pub fn check_index(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        files::check_index(text);
    }
}

/// A column's type as text: it fits the log's column or is refused, and what fits fits again.
///
/// `input` is a column's type, its metadata (u16), a choice of facts, and COLUMN_TYPE.
pub fn check_column(input: &[u8]) {
    const KINDS: [Kind; 12] = [
        Kind::Long,
        Kind::Varchar,
        Kind::String,
        Kind::Enum,
        Kind::Set,
        Kind::NewDecimal,
        Kind::Blob,
        Kind::Bit,
        Kind::DateTime2,
        Kind::Double,
        Kind::Geometry,
        Kind::Json,
    ];
    let Some(([kind, low, high, facts], text)) = input.split_first_chunk() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let column = Column {
        name: "@1".to_owned(),
        kind: KINDS.get(usize::from(*kind) % KINDS.len()).copied().unwrap_or_default(),
        meta: u16::from_le_bytes([*low, *high]),
        nullable: facts & 1 != 0,
        unsigned: None,
        collation: (facts & 2 != 0).then_some(45),
        ..Column::default()
    };
    let info = ColumnInfo {
        name: "c".to_owned(),
        column_type: text.to_owned(),
        nullable: facts & 1 != 0,
        collation: (facts & 4 != 0).then_some(45),
        octets: (facts & 8 != 0).then_some(u64::from(u16::from_le_bytes([*low, *high]))),
        visible: true,
        ..ColumnInfo::default()
    };
    let mut table = Table { columns: vec![column], ..Table::default() };
    let before = table.clone();
    if complete(&mut table, std::slice::from_ref(&info)).is_err() {
        assert_eq!(table, before, "a refused table stays as it was");
        return;
    }
    let labels: usize = table.columns.iter().flat_map(|c| &c.labels).map(String::len).sum();
    assert!(labels <= text.len(), "members are the text's own");
    let done = table.clone();
    assert_eq!(complete(&mut table, &[info]), Ok(()), "what fits fits again");
    assert_eq!(table, done);
}
