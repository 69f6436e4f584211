//! Changes ⇄ columnar bytes: the unit that is staged, sent, acknowledged and logged. No I/O.
//!
//! ```text
//!  "RVLT" │ version │ identity: agent, epoch, sequence, │ meta: source, positions, │ body:          │ CRC32C
//!  4      │ 2       │ CRC32C of the batch before        │ counts, part, codec, …   │ zstd(postcard) │ of all
//!         │         └────────── plain ──────────────────┴──────────────────────────┤                │ before
//! ```
//!
//! The identity is put on when a batch is sent ([`frame`]); meta and body are made once, at the edge,
//! and never re-encoded. The body has the rows of the whole batch by table and operation, as columns,
//! and an order stream that restores the commit order exactly.
//!
//! | file | what |
//! |---|---|
//! | `header` | the plain part, and framing |
//! | `fragment` | a batch in several messages, where one would be too large |
//! | `builder` | changes → a [`Sealed`] batch |
//! | `reader` | a body → changes |
//! | `body` | what postcard sees |
//! | `column`, `ints` | the layouts |
//! | `schema` | a table's record and its fingerprint |
//! | `ack` | what the collector says of the batches it has |
//! | `topic` | where each kind of message is published |

// Bytes from outside are read with checks, never by index; tests index what they made themselves.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use std::fmt;

mod ack;
mod body;
mod builder;
pub mod check;
mod column;
mod cursor;
mod fragment;
mod group;
mod header;
mod ints;
mod reader;
mod schema;
mod topic;

pub use ack::{Ack, Demand};
pub use builder::{Back, Begin, Builder, Commit, Sealed, Settings};
pub use fragment::{Assembled, Assembler, FRAGMENT_BYTES_MIN, Fragment, Fragments, Whole};
pub use header::{Follows, Identity, Message, Meta, crc, frame};
pub use reader::{Batch, Limits, RowChange, Transaction};
pub use schema::{decode_schema, encode_schema, fingerprint, schema_batch};
pub use topic::{Channel, Topic};

/// Bytes that are not a batch, or a batch beyond the limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchError {
    /// The bytes end before this field.
    Short(&'static str),
    /// A field has a value that is not legal.
    Malformed(&'static str, u64),
    /// More than the limits allow.
    TooLarge(&'static str),
    /// The checksum does not fit the bytes.
    Checksum(&'static str),
    /// A format version, codec or dictionary that this version does not know.
    Unknown(&'static str, u64),
    /// zstd or postcard refused the bytes.
    Refused(&'static str),
    /// A row of a table whose schema is not known.
    Schema(u64),
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(field) => write!(f, "batch: {field}: the bytes end too early"),
            Self::Malformed(field, value) => {
                write!(f, "batch: {field}: {value} is not a legal value")
            }
            Self::TooLarge(field) => write!(f, "batch: {field}: more than the limit"),
            Self::Checksum(field) => write!(f, "batch: {field}: the checksum differs"),
            Self::Unknown(field, value) => {
                write!(f, "batch: {field} {value} is not known to this version")
            }
            Self::Refused(field) => write!(f, "batch: {field}: cannot be read"),
            Self::Schema(fingerprint) => write!(f, "batch: schema {fingerprint:016x} is not known"),
        }
    }
}

impl std::error::Error for BatchError {}

#[cfg(test)]
mod tests;
