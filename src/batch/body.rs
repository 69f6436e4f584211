//! What postcard sees: the body's tables of contents. The columns themselves are packed by hand.

use std::marker::PhantomData;
use std::{fmt, iter};

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::position::{Gtid, Uuid, is_tag};

/// The decompressed body.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Body {
    /// Binlog files that transactions refer to.
    #[serde(deserialize_with = "bounded")]
    pub(super) files: Vec<String>,
    /// Schema records that travel with this batch: fingerprint and record.
    #[serde(deserialize_with = "bounded")]
    pub(super) schemas: Vec<(u64, Vec<u8>)>,
    /// Fingerprints of the tables that groups refer to.
    #[serde(deserialize_with = "bounded")]
    pub(super) tables: Vec<u64>,
    /// What GTID numbers count in; transactions refer to them by index + 1.
    #[serde(deserialize_with = "bounded")]
    pub(super) origins: Vec<Origin>,
    /// Transactions, complete or (in a part) one that is not.
    pub(super) transactions: u32,
    /// For a part: how many rows of the transaction came in the parts before.
    pub(super) rows_before: u64,
    /// [`TRANSACTION_FIELDS`] packed integer columns of `transactions` values.
    #[serde(with = "bytes")]
    pub(super) transaction_columns: Vec<u8>,
    /// The order stream's length.
    pub(super) events: u32,
    /// [`EVENT_FIELDS`] packed integer columns of `events` values.
    #[serde(with = "bytes")]
    pub(super) event_columns: Vec<u8>,
    /// The rows, by table, operation and image shape.
    #[serde(deserialize_with = "bounded")]
    pub(super) groups: Vec<GroupRecord>,
}

impl Body {
    /// Empties what grows as rows come, and keeps its memory; the groups are the caller's to fill anew.
    pub(super) fn clear(&mut self) {
        self.files.clear();
        self.schemas.clear();
        self.tables.clear();
        self.origins.clear();
        self.transaction_columns.clear();
        self.event_columns.clear();
    }

    /// About how many bytes it takes, serialized: seldom less than it does.
    pub(super) fn len_about(&self) -> usize {
        let schemas = self.schemas.iter().map(|(_, record)| 16 + record.len());
        let groups = self
            .groups
            .iter()
            .map(|group| 32 + group.before.len() + group.after.len() + group.data.len());
        let columns = self.transaction_columns.len() + self.event_columns.len();
        let names = 64 * (1 + self.files.len() + self.tables.len() + self.origins.len());
        names + columns + schemas.sum::<usize>() + groups.sum::<usize>()
    }
}

/// Rows of one table and operation whose images have the same columns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct GroupRecord {
    /// Index into `tables`.
    pub(super) table: u32,
    /// 0 insert, 1 update, 2 delete.
    pub(super) operation: u8,
    /// How many columns the table has.
    pub(super) columns: u32,
    /// One bit per column: is it in the before image? Empty if there is none.
    #[serde(with = "bytes")]
    pub(super) before: Vec<u8>,
    /// Likewise for the after image.
    #[serde(with = "bytes")]
    pub(super) after: Vec<u8>,
    /// Rows.
    pub(super) rows: u32,
    /// The before columns, then the after columns.
    #[serde(with = "bytes")]
    pub(super) data: Vec<u8>,
}

/// The part of a GTID that many transactions share.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Origin {
    Mysql { uuid: Uuid, tag: String },
    Mariadb { domain: u32, server: u32 },
}

/// Entries that a list of the body has at most: an empty name takes a byte here, and seventy in memory. A batch has no
/// more rows ([`Limits`](super::Limits) of an agent).
const ENTRIES_MAX: usize = 1 << 20;

/// A list of at most [`ENTRIES_MAX`] entries.
fn bounded<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if list.len() == ENTRIES_MAX {
                    return Err(A::Error::custom("more entries than a batch has"));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }

    from.deserialize_seq(List(PhantomData))
}

/// Bytes at once, not one by one: postcard writes both in the same way.
mod bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

impl Origin {
    pub(super) fn of(gtid: &Gtid) -> (Self, u64) {
        match gtid {
            Gtid::Mysql { uuid, tag, number } => {
                (Self::Mysql { uuid: *uuid, tag: tag.clone() }, *number)
            }
            Gtid::Mariadb { domain, server, sequence } => {
                (Self::Mariadb { domain: *domain, server: *server }, *sequence)
            }
        }
    }

    /// Whether a server can have it.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Mysql { tag, .. } => is_tag(tag.as_bytes()),
            Self::Mariadb { .. } => true,
        }
    }

    pub(super) fn gtid(&self, number: u64) -> Gtid {
        match self {
            Self::Mysql { uuid, tag } => Gtid::Mysql { uuid: *uuid, tag: tag.clone(), number },
            Self::Mariadb { domain, server } => {
                Gtid::Mariadb { domain: *domain, server: *server, sequence: number }
            }
        }
    }
}

/// The columns of the transaction table, in this order.
pub(super) const TRANSACTION_FIELDS: usize = 11;
/// The index of this field, and of the one that stands beside it.
pub(super) const FIRST_OFFSET: usize = 3;
pub(super) const LAST_OFFSET: usize = 4;

/// One transaction as packed integers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TransactionRow {
    /// Index of the origin + 1; 0 for no GTID.
    pub(super) origin: u64,
    pub(super) number: u64,
    /// Index of the file.
    pub(super) file: u64,
    pub(super) first_offset: u64,
    pub(super) last_offset: u64,
    pub(super) timestamp_s: u64,
    pub(super) server_id: u64,
    /// Thread + 1; 0 where the log does not say.
    pub(super) thread: u64,
    /// 0 where the log does not say.
    pub(super) committed_us: u64,
    /// Xid + 1; 0 for none.
    pub(super) xid: u64,
    /// Events in this batch.
    pub(super) events: u64,
}

impl TransactionRow {
    pub(super) fn fields(&self) -> [u64; TRANSACTION_FIELDS] {
        [
            self.origin,
            self.number,
            self.file,
            self.first_offset,
            self.last_offset,
            self.timestamp_s,
            self.server_id,
            self.thread,
            self.committed_us,
            self.xid,
            self.events,
        ]
    }

    pub(super) fn from_fields(fields: [u64; TRANSACTION_FIELDS]) -> Self {
        let [origin, number, file, first_offset, last_offset, timestamp_s, rest @ ..] = fields;
        let [server_id, thread, committed_us, xid, events] = rest;
        Self {
            origin,
            number,
            file,
            first_offset,
            last_offset,
            timestamp_s,
            server_id,
            thread,
            committed_us,
            xid,
            events,
        }
    }
}

/// The columns of the order stream, in this order.
pub(super) const EVENT_FIELDS: usize = 5;
/// The index of the field that stands beside the last offset of the event's transaction: [`ends`].
pub(super) const OFFSET: usize = 2;

/// Per event where its transaction ends; 0 behind the last one.
pub(super) fn ends(transactions: &[TransactionRow]) -> impl Iterator<Item = u64> + Clone + '_ {
    let ends = transactions.iter().flat_map(|transaction| {
        let events = usize::try_from(transaction.events).unwrap_or(usize::MAX);
        iter::repeat_n(transaction.last_offset, events)
    });
    ends.chain(iter::repeat(0))
}

/// One rows event (or the piece of it that is in this batch) as packed integers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EventRow {
    /// Index of the group.
    pub(super) group: u64,
    pub(super) rows: u64,
    /// Where the event starts in the file.
    pub(super) offset: u64,
    pub(super) timestamp_s: u64,
    /// The number of the first row here: `binlog::numbering`.
    pub(super) first_row: u64,
}

impl EventRow {
    pub(super) fn fields(&self) -> [u64; EVENT_FIELDS] {
        [self.group, self.rows, self.offset, self.timestamp_s, self.first_row]
    }

    pub(super) fn from_fields(
        [group, rows, offset, timestamp_s, first_row]: [u64; EVENT_FIELDS],
    ) -> Self {
        Self { group, rows, offset, timestamp_s, first_row }
    }
}
