//! One MQTT 5 conversation, either role, without the socket and without the clock.
//!
//! ```text
//!                     publish, subscribe ─┐            ┌─► Write   bytes for the link
//!   Opened, Bytes, Tick, Lost ─► handle ──┴──► poll ───┼─► Event   what the peer wants or answers
//!                                                      └─► (none)  sleep until `wake_at`, then Tick
//! ```
//!
//! | | [`Client`] | [`Server`] |
//! |---|---|---|
//! | runs in | the agent; a collector behind a broker | the collector, one per connection |
//! | speaks first | CONNECT as soon as the link is open | after CONNECT, when told to accept or refuse |
//! | limits from | CONNACK | CONNECT |
//! | notices silence | PINGRESP and PUBACK overdue | 1.5 times the keep-alive |
//!
//! After each call, take [`Output`]s until there are none, also after an error: the last one may be
//! the DISCONNECT that tells the peer why. An error from `handle` ends the connection: write what is
//! left, close the link, then report [`Input::Lost`].
//!
//! A lost link makes a session forget what was in flight. The buffer still has it, and the collector
//! drops what it sees twice, so nothing is persisted or replayed here. A PUBACK is flow control,
//! never a reason to forget a batch.
//!
//! The packets are those of OASIS MQTT 5.0; `rumqttc`'s codec reads and writes the long ones, and
//! [`packet`] says which it cannot. Quality of service is 0 or 1; packets of QoS 2, AUTH and topic
//! aliases, none of which we ever announce, are errors.

// Bytes from outside are read with checks, never by index.
#![warn(clippy::indexing_slicing)]

pub mod check;
mod client;
mod error;
mod inflight;
pub mod packet;
mod reason;
mod server;
#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;

pub use bytes::Bytes;
pub use client::{Client, ClientEvent, ClientSettings, Limits, Login};
pub use error::SessionError;
pub use packet::{Begun, Filter, QoS, Will};
pub use reason::Reason;
pub use server::{ConnectRequest, Server, ServerEvent, ServerSettings};

/// What happened outside.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The link is there: nothing has been sent or received on it yet.
    Opened,
    /// Bytes of the peer, in any portions.
    Bytes(&'a [u8]),
    /// Time has passed: see `wake_at`.
    Tick,
    /// The link is gone, whoever ended it.
    Lost,
}

/// What is to be done outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output<E> {
    /// Bytes for the link, in this order.
    Write(Bytes),
    /// News for the session's owner.
    Event(E),
}
