//! A table's schema as it travels: once per epoch, by fingerprint.

use ring::digest;

use crate::binlog::table::Table;

use super::builder::{Sealed, seal_body};
use super::{BatchError, Meta, body::Body};

/// A table's record. Equal tables have equal records.
pub fn encode_schema(table: &Table) -> Vec<u8> {
    postcard::to_allocvec(table).expect("a table has no unserializable part")
}

/// Reads what [`encode_schema`] wrote.
pub fn decode_schema(record: &[u8]) -> Result<Table, BatchError> {
    if record.len() > RECORD_BYTES_MAX {
        return Err(BatchError::TooLarge("schema record"));
    }
    postcard::from_bytes(record).map_err(|_| BatchError::Refused("schema record"))
}

/// What no table's names, labels and columns exceed. A label of one byte takes 24 in memory.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// The first 8 bytes of a record's SHA-256: what names a schema on the wire.
pub fn fingerprint(record: &[u8]) -> u64 {
    let digest = digest::digest(&digest::SHA256, record);
    let mut first = [0; 8];
    first.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(first)
}

/// A batch without rows that carries schemas only: what a collector gets that has lost them.
pub fn schema_batch(schemas: Vec<(u64, Vec<u8>)>, level: i32) -> Result<Sealed, BatchError> {
    let mut body = Body { schemas, ..Body::default() };
    seal_body(&mut Meta::default(), &mut body, level)
}
