//! SHELL: dialling with QUIC, and the limits that both ends share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{EndpointConfig, TransportConfig, VarInt};

use super::connection::of_write;
use super::runtime::Runtime;
use super::{ClientTls, Connection, TransportError};

/// How a QUIC connection behaves.
#[derive(Clone, Debug)]
pub struct QuicSettings {
    /// After so much silence the connection is dead; both ends' shorter one holds.
    pub idle_timeout: Duration,
    /// How often to break the silence; well under the idle timeout and the NATs' memory.
    pub keep_alive: Duration,
    /// How much of a stream the peer may send before we have read it, in bytes.
    pub stream_window: u32,
    /// As much for the whole connection, in bytes.
    pub connection_window: u32,
    /// How much we keep of what the peer has not acknowledged, in bytes.
    pub send_window: u32,
    /// Who decides how fast to send.
    pub congestion: Congestion,
    /// Whether the kernel may cut the datagrams (GSO). Some boards' drivers cannot.
    pub segmentation_offload: bool,
}

/// Congestion control.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Congestion {
    /// Fair to others; slow on links that lose packets for no reason.
    Cubic,
    /// Fast on lossy links. Overshoots short queues, unless `send_window` is small (256 KB).
    Bbr,
    /// Like cubic, but slower to come back after a loss.
    NewReno,
}

impl Default for QuicSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(12),
            keep_alive: Duration::from_secs(5),
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            send_window: 1 << 20,
            congestion: Congestion::Cubic,
            segmentation_offload: true,
        }
    }
}

impl QuicSettings {
    /// `streams`: how many the peer may open.
    pub(super) fn transport(&self, streams: u32) -> Arc<TransportConfig> {
        let idle_ms = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_idle_timeout(Some(VarInt::from_u32(idle_ms).into()))
            .keep_alive_interval(Some(self.keep_alive))
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.connection_window))
            .send_window(self.send_window.into())
            .datagram_receive_buffer_size(None)
            .enable_segmentation_offload(self.segmentation_offload);
        match self.congestion {
            // quinn's own choice.
            Congestion::Cubic => {}
            Congestion::Bbr => {
                let bbr = quinn::congestion::BbrConfig::default();
                transport.congestion_controller_factory(Arc::new(bbr));
            }
            Congestion::NewReno => {
                let new_reno = quinn::congestion::NewRenoConfig::default();
                transport.congestion_controller_factory(Arc::new(new_reno));
            }
        }
        Arc::new(transport)
    }
}

/// The sockets from which we dial, one per family, made when first needed and kept: a connection
/// that is lost and made again needs no new memory. They are bound to no particular address of ours,
/// so that a connection survives when that changes.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    runtime: Arc<Runtime>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

impl Sockets {
    pub(super) fn on(runtime: Runtime) -> Self {
        Self { runtime: Arc::new(runtime), kept: Mutex::default() }
    }

    fn towards(&self, address: SocketAddr) -> std::io::Result<quinn::Endpoint> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, any) = match address {
            SocketAddr::V4(_) => (&mut kept.v4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&mut kept.v6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        match kept {
            Some(endpoint) => Ok(endpoint.clone()),
            None => {
                let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                let config = EndpointConfig::default();
                let endpoint = quinn::Endpoint::new(config, None, socket, self.runtime.clone())?;
                Ok(kept.insert(endpoint).clone())
            }
        }
    }

    /// A socket that cannot even send is not tried again.
    fn forget(&self, address: SocketAddr) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match address {
            SocketAddr::V4(_) => kept.v4 = None,
            SocketAddr::V6(_) => kept.v6 = None,
        }
    }
}

/// Dials one address; `early` leaves with the first packets if the peer is known from before.
pub(super) async fn dial(
    sockets: &Sockets,
    address: SocketAddr,
    name: &str,
    tls: &ClientTls,
    settings: &QuicSettings,
    early: &[Bytes],
) -> Result<Connection, TransportError> {
    let unreachable = |what: String| TransportError::Unreachable { address, what };
    let crypto = QuicClientConfig::try_from(tls.quic.clone())
        .expect("TLS 1.3 with ring has QUIC's initial cipher suite");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(settings.transport(0));
    let endpoint = sockets.towards(address).map_err(|error| unreachable(error.to_string()))?;
    let connecting = match endpoint.connect_with(config, address, name) {
        Ok(connecting) => connecting,
        Err(error) => {
            sockets.forget(address);
            return Err(unreachable(error.to_string()));
        }
    };
    let connection = if early.is_empty() {
        connecting.await.map_err(|error| lost(&error))?
    } else {
        match connecting.into_0rtt() {
            Ok((connection, accepted)) => match hasten(&connection, accepted, early).await? {
                Some(streams) => {
                    return Ok(Connection {
                        early: true,
                        ..Connection::quic(connection, streams, None)
                    });
                }
                None => connection,
            },
            Err(connecting) => connecting.await.map_err(|error| lost(&error))?,
        }
    };
    let streams = connection.open_bi().await.map_err(|error| lost(&error))?;
    Ok(Connection::quic(connection, streams, None))
}

/// Writes before the handshake ends. `None` if the peer did not read it: then that stream is void.
async fn hasten(
    connection: &quinn::Connection,
    accepted: quinn::ZeroRttAccepted,
    early: &[Bytes],
) -> Result<Option<(quinn::SendStream, quinn::RecvStream)>, TransportError> {
    let (mut send, receive) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let mut chunks = early.to_vec();
    let written = send.write_all_chunks(&mut chunks).await;
    if accepted.await {
        written.map_err(|error| of_write(&error))?;
        return Ok(Some((send, receive)));
    }
    connection.close_reason().map_or(Ok(None), |error| Err(lost(&error)))
}

fn lost(error: &quinn::ConnectionError) -> TransportError {
    TransportError::of_quic(error, true)
}
