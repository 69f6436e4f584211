//! Rivulet carries every committed change of a MySQL or MariaDB server from a small machine at the
//! edge, over a bad link, to a central collector.
//!
//! ```text
//!             edge device: `rivulet`                                 centre: `rivulet-collector`
//!  ┌────────┐  ┌───────┐  ┌────────┐  ┌────────┐  MQTT 5 over QUIC ┌───────────┐  ┌─────┐  ┌────────────┐
//!  │ source ├─►│ batch ├─►│ buffer ├─►│ uplink ├──────────────────►│ collector ├─►│ log ├─►│ sinks      │
//!  └────────┘  └───────┘  └───▲────┘  └───┬────┘ (or TLS over TCP) └─────┬─────┘  └─────┘  │ stdout,    │
//!   binlog:     columns,      │ SQLite    │      straight to it, or      │                 │ file       │
//!   live, files zstd          └── ack ────┘◄──── through a broker ───────┘                 └────────────┘
//! ```
//!
//! **The edge moves bytes; the centre gives them meaning.** The agent splits row images into column
//! slices, which takes types but no interpretation; what a value means is [`binlog::value`], which
//! the collector and `rivulet decode` run.
//!
//! # The promises
//!
//! 1. **Whole and in order.** What the centre applies is a prefix of the source's committed
//!    transactions, in commit order.
//! 2. **Nothing lost.** The edge forgets a batch only after the collector said that it is durable.
//! 3. **Once in effect.** A batch may be sent twice; it is applied once.
//! 4. **Fail loud.** What cannot be decoded exactly stops the stream with an error that says where.
//! 5. **Bounded.** Memory and disk have limits; a full buffer stops the reading, it never drops.
//! 6. **It mends itself**, or reports precisely what it cannot mend.
//! 7. **Closed.** Nothing is accepted without authentication; where there is TLS, its verification is never off.
//!
//! # The rooms, and the rule
//!
//! | room | what | who may run it |
//! |---|---|---|
//! | [`position`] | where in a binlog: `Position`, `Gtid`, `GtidSet`, `Sequence` | both ends |
//! | [`binlog`] | bytes → events → row images → values; no I/O | both ends |
//! | [`batch`] | changes ⇄ columnar bytes, schema records; no I/O | both ends |
//! | [`mysql`] | the client side of the server's protocol: packets, logging in, queries, dump | agent |
//! | [`source`] | binlog files or a live server → transactions | agent |
//! | [`buffer`] | the durable queue in one SQLite file | agent; the collector's log uses its file layer |
//! | [`mqtt`] | one MQTT session, either role; no I/O, no clock | both ends |
//! | [`transport`] | QUIC and TLS-over-TCP streams, certificates | both ends |
//! | [`uplink`] | what to send next: window, rewind, backoff; no I/O, no clock | agent |
//! | `collector` | the wiring of the centre: listener, ledger, log, certificates | collector |
//! | `envelope` | changes → Debezium's, Maxwell's, Canal's JSON | decode and collector |
//! | `sink` | where lines go, one file per target | collector |
//! | [`telemetry`] | counters, health, the pages that show them, log output | both ends |
//! | [`config`] | text → checked settings, or every problem with its line | both ends |
//! | [`agent`] | the wiring of the edge | agent |
//! | `decode` | the wiring of `rivulet decode`: a binlog file → changes or counts | both ends |
//!
//! Names point downwards only (bin → agent, collector, decode → stages → mqtt, batch, binlog → position)
//! and a stage never names another stage: data moves only in the wiring. Sockets, files, clocks and
//! threads live in the files that say `SHELL` in their first line. `tests/architecture.rs` holds this
//! table as data.

pub mod agent;
pub mod batch;
pub mod binlog;
pub mod buffer;
#[cfg(feature = "collector")]
pub mod collector;
pub mod config;
#[cfg(feature = "decode")]
pub mod decode;
#[cfg(feature = "decode")]
pub mod envelope;
pub mod mqtt;
pub mod mysql;
pub mod position;
#[cfg(feature = "collector")]
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod transport;
pub mod uplink;
