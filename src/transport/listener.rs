//! SHELL: the collector's QUIC endpoint.
//!
//! The accept loop only takes [`Incoming`]s out and hands each to a task; the handshake, the name
//! check and the wait for the first stream happen in [`Incoming::establish`] under a deadline, so
//! that a silent peer holds up nobody.
//!
//! An agent that was here before may send its first bytes with its first packet (0-RTT). A session can be
//! resumed once, and only at the process that made it, so that nobody can play such a packet again.
//!
//! An agent that speaks to a listener which was restarted gets a stateless reset and knows at once:
//! the keys for that are made from a secret that the caller keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};

use super::certificates::certified_name;
use super::connection::Certified;
use super::runtime::Runtime;
use super::{Connection, QuicSettings, ServerTls, TransportError, within};

/// A bound QUIC endpoint that lets agents in.
#[derive(Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
    settings: QuicSettings,
    connections_max: usize,
    knocking: Arc<AtomicUsize>,
    receive_buffer_bytes: usize,
}

/// Somebody who knocks: nothing about it is verified yet, not even its address.
#[derive(Debug)]
pub struct Incoming {
    incoming: quinn::Incoming,
    knock: Knock,
}

/// One among those who are not in yet.
#[derive(Debug)]
struct Knock(Arc<AtomicUsize>);

impl Drop for Knock {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// Binds the address. `secret` is random, kept over restarts and told to nobody.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(
        address: SocketAddr,
        tls: &ServerTls,
        settings: QuicSettings,
        secret: &[u8; 32],
        connections_max: usize,
    ) -> Result<Self, TransportError> {
        let socket = socket(address)
            .map_err(|error| TransportError::Bind { address, what: error.to_string() })?;
        // Linux gives twice what it counts.
        let receive_buffer_bytes = socket.recv_buffer_size().unwrap_or(0) / 2;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let reset = hmac::sign(&secret, b"rivulet: stateless reset");
        let reset = hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref());
        let ids = hmac::sign(&secret, b"rivulet: connection ids");
        let ids = ids.as_ref().first_chunk().copied().expect("32 bytes are more than 8");
        let mut config = quinn::EndpointConfig::new(Arc::new(reset));
        config.min_reset_interval(RESET_EVERY);
        config.cid_generator(move || {
            Box::new(HashedConnectionIdGenerator::from_key(u64::from_le_bytes(ids)))
        });
        let server = Some(server_config(tls, &settings));
        let runtime = Arc::new(Runtime::default());
        let endpoint = quinn::Endpoint::new(config, server, socket.into(), runtime)
            .map_err(|error| TransportError::Bind { address, what: error.to_string() })?;
        let knocking = Arc::default();
        Ok(Self { endpoint, settings, connections_max, knocking, receive_buffer_bytes })
    }

    /// Where it listens, with the port that the system chose for 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// What the kernel keeps for us while we do something else, in bytes: [`RECEIVE_BUFFER_BYTES`], or
    /// less if its limit (`net.core.rmem_max`) is lower.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Waits for the next who knocks; `None` when the listener is closed. When many knock, an address
    /// must be proven first; when all places are taken, newcomers are refused.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let knocking = self.knocking.load(Ordering::Relaxed);
            if self.endpoint.open_connections() >= self.connections_max {
                incoming.refuse();
            } else if knocking >= UNPROVEN_MAX.min(self.connections_max / 2) && incoming.may_retry()
            {
                // An error only says that it may not; `may_retry` has said that it may.
                let _ = incoming.retry();
            } else {
                self.knocking.fetch_add(1, Ordering::Relaxed);
                return Some(Incoming { incoming, knock: Knock(self.knocking.clone()) });
            }
        }
    }

    /// How many connections there are, those in their handshake included.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Uses other certificates from the next connection on; those that stand are not touched.
    pub fn reload(&self, tls: &ServerTls) {
        self.endpoint.set_server_config(Some(server_config(tls, &self.settings)));
    }

    /// Ends all connections at once and waits until the peers were told, half a second at most.
    pub async fn close(&self) {
        self.endpoint.close(0u32.into(), b"the collector stops");
        let late = async {
            smol::Timer::after(CLOSE_MAX).await;
        };
        smol::future::or(self.endpoint.wait_idle(), late).await;
    }
}

impl Incoming {
    /// Where it seems to come from.
    pub fn address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Shakes hands, reads the agent's name from its certificate and waits for its stream; each step
    /// within `deadline`. The stream is there when the agent has sent its first bytes.
    ///
    /// # Errors
    /// Why this is not an agent of ours.
    pub async fn establish(self, deadline: Duration) -> Result<Connection, TransportError> {
        let lost = |error: quinn::ConnectionError| TransportError::of_quic(&error, true);
        let Self { incoming, knock: _knock } = self;
        let connecting = incoming.accept().map_err(lost)?;
        // A server's connection can always be had before the handshake is complete.
        let Ok((connection, complete)) = connecting.into_0rtt() else {
            unreachable!("quinn: this is not refused to a server")
        };
        // Whichever comes first; with 0-RTT that is the stream.
        let stream = async { connection.accept_bi().await.map(Some).map_err(lost) };
        let handshake = async {
            complete.await;
            connection.close_reason().map_or(Ok(None), |error| Err(lost(error)))
        };
        let early = within(deadline, "handshake", smol::future::or(handshake, stream)).await?;
        let Some(certified) = identity(&connection) else {
            connection.close(NAMELESS.into(), b"the certificate does not name an agent");
            return Err(TransportError::Nameless);
        };
        let streams = match early {
            Some(streams) => streams,
            None => {
                let stream = async { connection.accept_bi().await.map_err(lost) };
                within(deadline, "handshake by a first stream", stream).await?
            }
        };
        Ok(Connection::quic(connection, streams, Some(certified)))
    }
}

/// Whom the verified client certificate names; also there when an old session was resumed.
fn identity(connection: &quinn::Connection) -> Option<Certified> {
    let identity = connection.peer_identity()?;
    certified(&identity.downcast::<Vec<CertificateDer<'static>>>().ok()?)
}

/// The one agent whom a verified chain names.
pub(super) fn certified(chain: &[CertificateDer<'_>]) -> Option<Certified> {
    let name = certified_name(chain)?;
    let print = ring::digest::digest(&ring::digest::SHA256, chain.first()?);
    Some(Certified { name, fingerprint: print.as_ref().try_into().ok()? })
}

fn server_config(tls: &ServerTls, settings: &QuicSettings) -> quinn::ServerConfig {
    let crypto = QuicServerConfig::try_from(tls.quic.clone())
        .expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(settings.transport(1)).max_incoming(INCOMING_MAX);
    config
}

fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel gives what its own limit allows, and a small buffer is better than no listener.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The bursts of many agents while this process is doing something else.
pub const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Above so many who knock, an address must be proven: a forged one costs us no more than an answer.
const UNPROVEN_MAX: usize = 64;
/// How often a peer may be told that we do not know its connection: after a restart all of them ask at
/// once. The answer is shorter than the question.
const RESET_EVERY: Duration = Duration::from_micros(200);
/// Knocks that wait for `accept`.
const INCOMING_MAX: usize = 1024;
/// The application's close code for a certificate without an agent's name.
const NAMELESS: u32 = 1;
const CLOSE_MAX: Duration = Duration::from_millis(500);
