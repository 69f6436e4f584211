//! SHELL: the collector's QUIC endpoint.
//!
//! The accept loop only takes [`Incoming`]s out and hands each to a task; the handshake, the name
//! check and the wait for the first stream happen in [`Incoming::establish`] under a deadline, so
//! that a silent peer holds up nobody.
//!
//! An agent that speaks to a listener which was restarted gets a stateless reset and knows at once:
//! the keys for that are made from a secret that the caller keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};

use super::certificates::certified_name;
use super::{Connection, QuicSettings, ServerTls, TransportError, within};

/// A bound QUIC endpoint that lets agents in.
#[derive(Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
    settings: QuicSettings,
    connections_max: usize,
}

/// Somebody who knocks: nothing about it is verified yet, not even its address.
#[derive(Debug)]
pub struct Incoming(quinn::Incoming);

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
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let reset = hmac::sign(&secret, b"rivulet: stateless reset");
        let reset = hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref());
        let ids = hmac::sign(&secret, b"rivulet: connection ids");
        let ids = ids.as_ref().first_chunk().copied().expect("32 bytes are more than 8");
        let mut config = quinn::EndpointConfig::new(Arc::new(reset));
        config.cid_generator(move || {
            Box::new(HashedConnectionIdGenerator::from_key(u64::from_le_bytes(ids)))
        });
        let server = Some(server_config(tls, &settings));
        let runtime = Arc::new(quinn::SmolRuntime);
        let endpoint = quinn::Endpoint::new(config, server, socket, runtime)
            .map_err(|error| TransportError::Bind { address, what: error.to_string() })?;
        Ok(Self { endpoint, settings, connections_max })
    }

    /// Where it listens, with the port that the system chose for 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Waits for the next who knocks; `None` when the listener is closed. When half the connections
    /// are taken, an address must be proven first; when all are, newcomers are refused.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let open = self.endpoint.open_connections();
            if open >= self.connections_max {
                incoming.refuse();
            } else if open >= self.connections_max / 2 && incoming.may_retry() {
                // An error only says that it may not; `may_retry` has said that it may.
                let _ = incoming.retry();
            } else {
                return Some(Incoming(incoming));
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
        self.0.remote_address()
    }

    /// Shakes hands, reads the agent's name from its certificate and waits for its stream; each step
    /// within `deadline`. The stream is there when the agent has sent its first bytes.
    ///
    /// # Errors
    /// Why this is not an agent of ours.
    pub async fn establish(self, deadline: Duration) -> Result<Connection, TransportError> {
        let lost = |error: quinn::ConnectionError| TransportError::of_quic(&error, true);
        let connecting = self.0.accept().map_err(lost)?;
        let (connection, shaken) =
            connecting.into_0rtt().expect("a server may always go on before the handshake ends");
        // A resumed session brings the certificate that was verified when it began, and perhaps early
        // data; its ticket served once and has no second effect. All others have to show theirs.
        if connection.peer_identity().is_none() {
            let handshake = async {
                match (shaken.await, connection.close_reason()) {
                    (_, Some(error)) => Err(lost(error)),
                    (_, None) => Ok(()),
                }
            };
            within(deadline, "handshake", handshake).await?;
        }
        let Some(name) = agent_name(&connection) else {
            connection.close(NAMELESS.into(), b"the certificate does not name an agent");
            return Err(TransportError::Nameless);
        };
        let stream = async { connection.accept_bi().await.map_err(lost) };
        let streams = within(deadline, "handshake by a first stream", stream).await?;
        Ok(Connection::quic(connection, streams, Some(name)))
    }
}

/// The name in the verified client certificate; also there when an old session was resumed.
fn agent_name(connection: &quinn::Connection) -> Option<String> {
    let identity = connection.peer_identity()?;
    certified_name(&identity.downcast::<Vec<CertificateDer<'static>>>().ok()?)
}

fn server_config(tls: &ServerTls, settings: &QuicSettings) -> quinn::ServerConfig {
    let crypto = QuicServerConfig::try_from(tls.quic.clone())
        .expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(settings.transport(1)).max_incoming(INCOMING_MAX);
    config
}

fn socket(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel gives what its own limit allows, and a small buffer is better than no listener.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The bursts of many agents while this process is doing something else.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Knocks that wait for `accept`.
const INCOMING_MAX: usize = 1024;
/// The application's close code for a certificate without an agent's name.
const NAMELESS: u32 = 1;
const CLOSE_MAX: Duration = Duration::from_millis(500);
