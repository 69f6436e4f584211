//! SHELL: the streams that carry MQTT: QUIC first, TLS over TCP where UDP does not pass.
//!
//! ```text
//!  connect ──► resolve, dial every address, TLS ──┐
//!                                                 ├──► Connection { reader, writer, monitor, peer }
//!  Listener ─► accept ─► Incoming ─► establish ───┘   (or TlsListener, TlsIncoming)
//! ```
//!
//! Both kinds of stream look the same from outside: bytes in order, verified peers at both ends. A
//! handshake has a deadline and runs wherever its caller awaits it, never in the accept loop.
//! Dropping a [`Writer`] ends its connection at once; [`Writer::finish`] ends it when all has arrived.
//!
//! QUIC's own tasks run on smol's global executor, or on the one that a [`Dialer`] was given; everything here
//! may be awaited on any thread.

mod certificates;
mod connection;
mod error;
#[cfg(feature = "collector")]
mod listener;
mod quic;
mod runtime;
mod stamps;
mod tcp;
mod tls;
#[cfg(feature = "collector")]
mod tls_listener;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smol::Executor;

#[cfg(feature = "collector")]
pub use certificates::ServerTls;
pub use certificates::{ClientFiles, ClientTls, IdentityFiles, name_in};
pub use connection::{Connection, Monitor, Peer, Reader, Statistics, Writer};
pub use error::{Fault, TransportError};
#[cfg(feature = "collector")]
pub use listener::{Incoming, Listener, RECEIVE_BUFFER_BYTES};
pub use quic::{Congestion, QuicSettings};
pub use runtime::Alarm;
pub use stamps::Stamps;
#[cfg(feature = "collector")]
pub use tls_listener::{TlsIncoming, TlsListener};

/// How bytes travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `quic://`: MQTT over one QUIC stream.
    Quic,
    /// `mqtts://`: MQTT over TLS over TCP.
    Tls,
    /// `mqtt://`: MQTT over TCP in the clear. Whoever dials it has been told to.
    Plain,
}

/// Where a collector or broker is: `quic://host`, `mqtts://[2001:db8::1]:8883`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointAddress {
    /// How to get there.
    pub scheme: Scheme,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The UDP or TCP port.
    pub port: u16,
    /// The name that the certificate must have, if it is not `host`.
    pub server_name: Option<String>,
}

impl EndpointAddress {
    fn name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Quic => "quic",
            Scheme::Tls => "mqtts",
            Scheme::Plain => "mqtt",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for EndpointAddress {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        let bad = |what| TransportError::Address { text: text.to_owned(), what };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no quic:// or mqtts://"))?;
        let (scheme, port) = match scheme {
            "quic" => (Scheme::Quic, PORT_QUIC),
            "mqtts" => (Scheme::Tls, PORT_TLS),
            "mqtt" => (Scheme::Plain, PORT_PLAIN),
            _ => return Err(bad("neither quic://, mqtts:// nor mqtt://")),
        };
        let (host, after) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| bad("a `[` without `]`"))?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match after.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None if after.is_empty() => Some(port),
            None => None,
        };
        let port = port.ok_or_else(|| bad("its port is not a number from 1 to 65535"))?;
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(bad("no host in it"));
        }
        Ok(Self { scheme, host: host.to_owned(), port, server_name: None })
    }
}

/// Dials peers. Keep it: what one dial needs serves the next. Its clones share that.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    sockets: Arc<quic::Sockets>,
}

impl Dialer {
    /// QUIC's tasks are run by whoever runs `executor`, and by nobody else.
    pub fn on(executor: Arc<Executor<'static>>) -> Self {
        Self { sockets: Arc::new(quic::Sockets::on(runtime::Runtime::on(executor))) }
    }

    /// Dials the peer: resolves its name afresh, tries every address, verifies its certificate and opens
    /// the one stream; all that within `deadline`.
    ///
    /// # Errors
    /// Why the last address tried did not work. A client certificate that the peer refuses shows only
    /// when reading, because TLS 1.3 clients finish first.
    pub async fn connect(
        &self,
        endpoint: &EndpointAddress,
        tls: &ClientTls,
        settings: &QuicSettings,
        deadline: Duration,
    ) -> Result<Connection, TransportError> {
        self.connect_early(endpoint, tls, settings, deadline, &[]).await
    }

    /// As [`Dialer::connect`]. To a QUIC peer that was dialled before with these certificates, `early`
    /// is sent with the first packets (0-RTT); [`Connection::early`] tells whether the peer has read it.
    ///
    /// It must have no second effect: the peer's address may get it more than once, and somebody on the
    /// way who recorded it can send it again.
    ///
    /// # Errors
    /// As [`Dialer::connect`].
    pub async fn connect_early(
        &self,
        endpoint: &EndpointAddress,
        tls: &ClientTls,
        settings: &QuicSettings,
        deadline: Duration,
        early: &[Bytes],
    ) -> Result<Connection, TransportError> {
        let started = Instant::now();
        let left = || deadline.saturating_sub(started.elapsed());
        let addresses = within(left(), "name lookup", resolve(endpoint)).await?;
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            // What a silent address wastes is not to be lost for those behind it.
            let share = left() / (addresses.len() - index).try_into().unwrap_or(1);
            let (sockets, name) = (&self.sockets, endpoint.name());
            let dialled = match endpoint.scheme {
                Scheme::Quic => {
                    let dial = quic::dial(sockets, *address, name, tls, settings, early);
                    within(share, "QUIC handshake", dial).await
                }
                Scheme::Tls => within(share, "TLS handshake", tls::dial(*address, name, tls)).await,
                Scheme::Plain => within(share, "TCP handshake", tcp::dial(*address)).await,
            };
            match dialled {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| TransportError::Resolve {
            host: endpoint.host.clone(),
            what: "the name has no addresses".to_owned(),
        }))
    }
}

async fn resolve(endpoint: &EndpointAddress) -> Result<Vec<SocketAddr>, TransportError> {
    let found = smol::net::resolve((endpoint.host.as_str(), endpoint.port)).await;
    let mut addresses = found.map_err(|error| TransportError::Resolve {
        host: endpoint.host.clone(),
        what: error.to_string(),
    })?;
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

/// Gives `future` so much time and no more.
async fn within<T>(
    time: Duration,
    doing: &'static str,
    future: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let late = async {
        smol::Timer::after(time).await;
        Err(TransportError::Timeout { doing, waited: time })
    };
    smol::future::or(future, late).await
}

/// Whether it can name an agent: one label of a DNS name, `[a-z0-9-]{1,63}`, not led or ended by `-`.
pub fn is_agent_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// What the public brokers use for MQTT over QUIC.
const PORT_QUIC: u16 = 14567;
const PORT_TLS: u16 = 8883;
const PORT_PLAIN: u16 = 1883;
/// More addresses than this would each get too little time.
const ADDRESSES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_defaults_and_brackets() {
        let parse = |text: &str| text.parse::<EndpointAddress>();
        let quic = parse("quic://collector.example").unwrap();
        assert_eq!((quic.host.as_str(), quic.port), ("collector.example", 14567));
        let tls = parse("mqtts://[2001:db8::1]:1").unwrap();
        assert_eq!((tls.scheme, tls.host.as_str(), tls.port), (Scheme::Tls, "2001:db8::1", 1));
        for bad in ["", "host", "http://h", "quic://", "quic://h:", "quic://h:0", "quic://[::1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_agents_name_is_one_label() {
        for good in ["a", "edge-17", "0", &"x".repeat(63)] {
            assert!(is_agent_name(good), "{good}");
        }
        for bad in ["", "a.b", "A", "a_b", "-a", "a-", "*", "ä", "a/b", "+", &"x".repeat(64)] {
            assert!(!is_agent_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_future_that_hangs_is_cut() {
        let hang =
            within(Duration::from_millis(10), "test", std::future::pending::<Result<(), _>>());
        let error = smol::block_on(hang).unwrap_err();
        assert_eq!(error.to_string(), "no answer to the test within 0.0 s");
    }
}
