//! The client side of the MySQL and MariaDB protocol: packets, login, queries, and the dump of the
//! binary log. Plain blocking I/O with deadlines; one packet buffer per connection.
//!
//! ```text
//!   Endpoint ──► Connection ──► query(sql) ──────────► rows of text
//!   (who, where,     │
//!    how secured)    └────────► dump(Dump, …) ──► event(deadline) ──► one event's bytes, or nothing yet
//! ```
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`packet`] | bytes ⇄ packets, fields of packets | none |
//! | [`auth`] | what proves the password without sending it | none |
//! | [`handshake`] | greeting and answer | none |
//! | [`dump`] | the commands that start the stream | none |
//! | [`error`] | what went wrong, and what to do about it | none |
//! | [`tls`] | certificates and how they are verified | reads files |
//! | [`channel`] | one socket, plain or TLS | sockets |
//! | [`connection`] | login, queries, stream | sockets |
//!
//! # What is promised
//!
//! * A password never travels in clear except over TLS or a unix socket, and is encrypted only for a
//!   server whose key we have reason to trust: see [`connection::Endpoint::allow_public_key_retrieval`].
//! * With TLS asked for, a server that does not offer it is an error: there is no way back to plain.
//!   There is no mode that does not verify the certificate.
//! * The server cannot ask for files of this machine (LOCAL INFILE): it is refused.
//! * No length from the peer is believed: a buffer grows with the bytes that have arrived.

pub mod auth;
pub mod channel;
pub mod check;
pub mod connection;
pub mod dump;
pub mod error;
pub mod handshake;
pub mod packet;
pub mod tls;
