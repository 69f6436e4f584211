//! SHELL: one connection as its users see it, whatever carries it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::TransportError;
use super::{tcp, tls};

/// A stream to a verified peer.
#[derive(Debug)]
pub struct Connection {
    /// What the peer says.
    pub reader: Reader,
    /// What we say.
    pub writer: Writer,
    /// How the link does; may be cloned and kept.
    pub monitor: Monitor,
    /// Who is there.
    pub peer: Peer,
    /// Whether the bytes given to [`super::Dialer::connect_early`] have been taken: they are not to be
    /// written again.
    pub early: bool,
}

/// The other end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its address when the connection was made; QUIC peers may move.
    pub address: SocketAddr,
    /// The agent's name from its certificate; only a listener asks for it.
    pub name: Option<String>,
    /// SHA-256 of that certificate.
    pub fingerprint: Option<[u8; 32]>,
}

/// What a verified certificate says.
#[cfg_attr(not(feature = "collector"), allow(dead_code, reason = "a listener makes them"))]
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Certified {
    pub(super) name: String,
    pub(super) fingerprint: [u8; 32],
}

impl Peer {
    fn new(address: SocketAddr, certified: Option<Certified>) -> Self {
        let (name, fingerprint) = certified.map(|it| (it.name, it.fingerprint)).unzip();
        Self { address, name, fingerprint }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Reader {
    from: Source,
    /// Whether the peer has said anything yet.
    heard: bool,
}

#[derive(Debug)]
enum Source {
    Quic(quinn::RecvStream),
    Tls(tls::Half),
    Plain(tcp::Half),
}

/// The sending half. Dropping it ends the connection, and what was not yet sent is lost.
#[derive(Debug)]
pub struct Writer {
    to: Sink,
}

#[derive(Debug)]
enum Sink {
    Quic(quinn::SendStream, quinn::Connection),
    Tls(tls::Half),
    Plain(tcp::Half),
}

/// A view of the link's health.
#[derive(Clone, Debug)]
pub struct Monitor(View);

#[derive(Clone, Debug)]
enum View {
    Quic(quinn::Connection),
    /// Bytes given to the TCP socket.
    Tcp(Arc<AtomicU64>),
}

/// Counters of a QUIC connection since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// The current estimate.
    pub rtt: Duration,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// Frames sent that the peer has to answer at once: stream data and pings, each time that they were sent.
    pub asked: u64,
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Of these, how many were lost.
    pub lost_packets: u64,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// The largest UDP payload that passes, in bytes.
    pub mtu: u16,
}

impl Connection {
    pub(super) fn quic(
        connection: quinn::Connection,
        (send, receive): (quinn::SendStream, quinn::RecvStream),
        certified: Option<Certified>,
    ) -> Self {
        Self {
            peer: Peer::new(connection.remote_address(), certified),
            reader: Reader { from: Source::Quic(receive), heard: false },
            monitor: Monitor(View::Quic(connection.clone())),
            writer: Writer { to: Sink::Quic(send, connection) },
            early: false,
        }
    }

    pub(super) fn tls(address: SocketAddr, half: tls::Half, certified: Option<Certified>) -> Self {
        Self {
            peer: Peer::new(address, certified),
            reader: Reader { from: Source::Tls(half.clone()), heard: false },
            monitor: Monitor(View::Tcp(half.sent())),
            writer: Writer { to: Sink::Tls(half) },
            early: false,
        }
    }

    pub(super) fn plain(address: SocketAddr, half: tcp::Half) -> Self {
        Self {
            peer: Peer::new(address, None),
            reader: Reader { from: Source::Plain(half.clone()), heard: false },
            monitor: Monitor(View::Tcp(half.sent())),
            writer: Writer { to: Sink::Plain(half) },
            early: false,
        }
    }
}

impl Reader {
    /// Waits for bytes and says how many there are; 0 at the end of the stream. Can be cancelled
    /// without losing any.
    ///
    /// # Errors
    /// Why the connection is lost; here a client learns that its certificate was refused.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        let early = !self.heard;
        let len = match &mut self.from {
            Source::Quic(stream) => match stream.read(buffer).await {
                Ok(len) => len.unwrap_or(0),
                Err(quinn::ReadError::ConnectionLost(error)) => {
                    return Err(TransportError::of_quic(&error, early));
                }
                Err(error) => return Err(TransportError::Lost { what: error.to_string(), early }),
            },
            Source::Tls(half) => half.read(buffer, early).await?,
            Source::Plain(half) => half.read(buffer, early).await?,
        };
        self.heard |= len > 0;
        Ok(len)
    }
}

impl Writer {
    /// Hands all the bytes over. They are on their way, not yet there.
    ///
    /// # Errors
    /// Why the connection is lost. Not to be used after an error or a cancelled write: part of the
    /// bytes may be gone.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), TransportError> {
        match &mut self.to {
            Sink::Quic(stream, _) => {
                stream.write_chunk(bytes).await.map_err(|error| of_write(&error))
            }
            Sink::Tls(half) => half.write_all(&bytes).await,
            Sink::Plain(half) => half.write_all(&bytes).await,
        }
    }

    /// Hands over the first of the bytes, 1 and up, and says how many. Can be cancelled: then none were.
    /// A slow link leaves some in this end's memory, until [`Writer::flush`] has sent them.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub async fn write_some(&mut self, bytes: &Bytes) -> Result<usize, TransportError> {
        match &mut self.to {
            Sink::Quic(stream, _) => {
                let written = stream.write_chunks(&mut [bytes.clone()]).await;
                written.map(|written| written.bytes).map_err(|error| of_write(&error))
            }
            Sink::Tls(half) => half.write_some(bytes).await,
            Sink::Plain(half) => half.write_some(bytes).await,
        }
    }

    /// Waits until the system has all that was handed over. Can be cancelled. QUIC sends by itself, so
    /// that there it never waits.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        match &mut self.to {
            Sink::Tls(half) => half.flush(false).await,
            Sink::Quic(..) | Sink::Plain(_) => Ok(()),
        }
    }

    /// Ends the stream, waits a moment for the peer to have all of it, and closes the connection.
    pub async fn finish(mut self) {
        self.end().await;
    }

    /// The same, and the connection is closed when this is dropped.
    pub async fn end(&mut self) {
        match &mut self.to {
            Sink::Quic(stream, _) => {
                // Closing a QUIC connection throws away what the peer has not acknowledged.
                if stream.finish().is_ok() {
                    let arrived = async {
                        let _ = stream.stopped().await;
                    };
                    let late = async {
                        smol::Timer::after(FINISH_MAX).await;
                    };
                    smol::future::or(arrived, late).await;
                }
            }
            Sink::Tls(half) => half.finish(FINISH_MAX).await,
            Sink::Plain(half) => half.finish(FINISH_MAX).await,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        match &self.to {
            // A monitor that somebody keeps would otherwise hold the connection open.
            Sink::Quic(_, connection) => connection.close(0u32.into(), b""),
            Sink::Tls(half) => half.shut_down(),
            Sink::Plain(half) => half.shut_down(),
        }
    }
}

impl Monitor {
    /// What the link has cost so far, in bytes sent: the datagrams of QUIC with everything that they
    /// repeat and with their headers (IP and UDP), or the bytes of a TCP stream and a share for theirs,
    /// which the system does not tell.
    pub fn cost(&self) -> u64 {
        match &self.0 {
            View::Quic(connection) => {
                let sent = connection.stats().udp_tx;
                let headers = if connection.remote_address().is_ipv4() { 28 } else { 48 };
                sent.bytes + sent.datagrams * headers
            }
            View::Tcp(sent) => {
                let sent = sent.load(Ordering::Relaxed);
                sent + sent / TCP_HEADERS_SHARE + TCP_HANDSHAKE_BYTES
            }
        }
    }

    /// What carries the bytes.
    fn quic(&self) -> Option<&quinn::Connection> {
        match &self.0 {
            View::Quic(connection) => Some(connection),
            View::Tcp(_) => None,
        }
    }

    /// The current estimate of the round-trip time; QUIC only.
    pub fn rtt(&self) -> Option<Duration> {
        self.quic().map(quinn::Connection::rtt)
    }

    /// The counters so far; QUIC only.
    pub fn statistics(&self) -> Option<Statistics> {
        let stats = self.quic()?.stats();
        Some(Statistics {
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            asked: stats.frame_tx.stream + stats.frame_tx.ping,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            mtu: stats.path.current_mtu,
        })
    }
}

pub(super) fn of_write(error: &quinn::WriteError) -> TransportError {
    match error {
        quinn::WriteError::ConnectionLost(error) => TransportError::of_quic(error, false),
        error => TransportError::Lost { what: error.to_string(), early: false },
    }
}

/// Headers of IP and TCP and acknowledgements, as a share of what a segment carries: generous, because
/// repetitions are not told.
const TCP_HEADERS_SHARE: u64 = 16;
const TCP_HANDSHAKE_BYTES: u64 = 200;
/// Long enough for a bad link's round trip; short enough for a stopping process.
const FINISH_MAX: Duration = Duration::from_millis(500);
