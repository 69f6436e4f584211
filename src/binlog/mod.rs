//! A server's binary log: bytes → events → row images → values. No I/O; borrows; cannot panic.
//!
//! ```text
//!   bytes ──► Framer ──► one event ──► Decoder ──► Event ──► Assembler ──► Step: begin, rows, commit
//!   (file)    frame.rs   (bytes) ▲     decoder.rs  event.rs  transaction.rs
//!                 └─► Payload ───┘ the events of a compressed transaction, payload.rs
//!   (stream: one packet is one event) ──┘             │
//!                                                     └─► RowIter ──► Cell ──► value (centre only)
//!                                                         rows.rs              value/
//! ```
//!
//! Formats are those of `sql/log_event.h` and `libs/mysql/binlog/event/` (MySQL) and of
//! `sql/log_event.h` (MariaDB).

// Tests index what they made themselves.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod compressed;
pub mod decoder;
pub mod event;
pub mod format;
pub mod frame;
pub mod gtid;
pub mod header;
pub mod numbering;
pub mod old_temporal;
pub mod payload;
pub mod query;
pub mod reader;
pub mod rows;
pub mod statement;
pub mod table;
pub mod table_map;
pub mod transaction;
#[cfg(feature = "decode")]
pub mod value;
pub mod width;
