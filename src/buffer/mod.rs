//! The durable queue between the binlog and the link: one SQLite file in WAL mode.
//!
//! Batches and the source's checkpoint behind them are written in one transaction, so the two
//! cannot disagree after a crash.

use crate::position::Sequence;

/// A batch as the source's side hands it over: its header without an identity, and its body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Parcel {
    /// The batch header's fields that do not depend on epoch and sequence, encoded by `batch`.
    pub meta: Vec<u8>,
    /// The compressed body.
    pub body: Vec<u8>,
    /// Row changes in it.
    pub rows: u32,
    /// Transactions that end in it.
    pub transactions: u32,
    /// Schema records that it is the first to carry: fingerprint and encoded record.
    pub schemas: Vec<(u64, Vec<u8>)>,
}

/// A batch as the link's side takes it out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Staged {
    /// The epoch in which it is to be sent.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: Sequence,
    /// CRC32C over the `meta` and `body` of the batch before it in the epoch; 0 for the first.
    pub previous_crc: u32,
    /// CRC32C over this one's `meta` and `body`, verified when it was read.
    pub crc: u32,
    /// As in [`Parcel`].
    pub meta: Vec<u8>,
    /// As in [`Parcel`].
    pub body: Vec<u8>,
    /// Row changes in it.
    pub rows: u32,
}
