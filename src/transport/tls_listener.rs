//! SHELL: the collector's TCP port, for agents whose network lets no UDP pass.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::Async;
use rustls::{ServerConfig, ServerConnection};

use super::certificates::certified_name;
use super::tls::{Half, Permit};
use super::{Connection, ServerTls, TransportError, within};

/// A bound TCP port that lets agents in.
#[derive(Debug)]
pub struct TlsListener {
    socket: Async<TcpListener>,
    config: Mutex<Arc<ServerConfig>>,
    open: Arc<AtomicUsize>,
    connections_max: usize,
}

/// Somebody who knocks: nothing about it is verified yet.
#[derive(Debug)]
pub struct TlsIncoming {
    socket: Async<TcpStream>,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    place: Place,
}

/// One connection among those counted.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Permit for Place {}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TlsListener {
    /// Binds the address.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(
        address: SocketAddr,
        tls: &ServerTls,
        connections_max: usize,
    ) -> Result<Self, TransportError> {
        let socket = Async::<TcpListener>::bind(address)
            .map_err(|error| TransportError::Bind { address, what: error.to_string() })?;
        let config = Mutex::new(tls.config.clone());
        Ok(Self { socket, config, open: Arc::default(), connections_max })
    }

    /// Where it listens, with the port that the system chose for 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Waits for the next who knocks; above the limit, newcomers are hung up on.
    ///
    /// # Errors
    /// The listener is broken.
    pub async fn accept(&self) -> Result<TlsIncoming, TransportError> {
        loop {
            let (socket, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_peer(&error) => continue,
                Err(error) if is_shortage(&error) => {
                    // Files come back when connections end; until then, do not spin.
                    smol::Timer::after(SHORTAGE_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    return Err(TransportError::Lost { what: error.to_string(), early: false });
                }
            };
            let place = Place(self.open.clone());
            if self.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
                continue;
            }
            let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Ok(TlsIncoming { socket, address, config, place });
        }
    }

    /// How many connections there are, those in their handshake included.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Uses other certificates from the next connection on; those that stand are not touched.
    pub fn reload(&self, tls: &ServerTls) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = tls.config.clone();
    }
}

impl TlsIncoming {
    /// Where it comes from.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shakes hands within `deadline` and reads the agent's name from its certificate.
    ///
    /// # Errors
    /// Why this is not an agent of ours.
    pub async fn establish(self, deadline: Duration) -> Result<Connection, TransportError> {
        let lost =
            |error: rustls::Error| TransportError::Lost { what: error.to_string(), early: true };
        let tls = ServerConnection::new(self.config).map_err(lost)?;
        let half = Half::new(self.socket, tls.into(), Some(Box::new(self.place)));
        within(deadline, "TLS handshake", half.shake_hands()).await?;
        let name = half.tls().peer_certificates().and_then(certified_name);
        let name = name.ok_or(TransportError::Nameless)?;
        Ok(Connection::tls(self.address, half, Some(name)))
    }
}

/// The peer was gone before it was accepted (accept(2), "Error handling").
fn is_of_one_peer(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::TimedOut
    )
}

/// EMFILE, ENFILE, ENOBUFS or ENOMEM: too much at once, and it passes.
fn is_shortage(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
