//! SHELL: TLS over TCP, for networks that let no UDP pass and for brokers without QUIC.
//!
//! Both halves share one TLS state under a lock that is held only while bytes are moved, never while
//! waiting for the socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_io::Async;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection as TlsState};

use super::{ClientTls, Connection, TransportError};

/// One direction of a TLS stream.
#[derive(Clone, Debug)]
pub(super) struct Half(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Async<TcpStream>,
    tls: Mutex<TlsState>,
    /// Bytes given to the socket.
    sent: Arc<AtomicU64>,
    /// Given back when both halves are gone.
    _permit: Option<Box<dyn Permit>>,
}

/// A place among a listener's connections.
pub(super) trait Permit: std::fmt::Debug + Send + Sync {}

/// Dials one address and shakes hands.
pub(super) async fn dial(
    address: SocketAddr,
    name: &str,
    tls: &ClientTls,
) -> Result<Connection, TransportError> {
    let unreachable = |what: String| TransportError::Unreachable { address, what };
    let name =
        ServerName::try_from(name.to_owned()).map_err(|error| unreachable(error.to_string()))?;
    let tls = ClientConnection::new(tls.tcp.clone(), name).map_err(|error| of_tls(&error, true))?;
    let socket = Async::<TcpStream>::connect(address).await;
    let socket = socket.map_err(|error| unreachable(error.to_string()))?;
    let half = Half::new(socket, tls.into(), None);
    half.shake_hands().await?;
    Ok(Connection::tls(address, half, None))
}

impl Half {
    pub(super) fn new(
        socket: Async<TcpStream>,
        tls: TlsState,
        permit: Option<Box<dyn Permit>>,
    ) -> Self {
        // Acknowledgements are small and must not wait for company.
        let _ = socket.get_ref().set_nodelay(true);
        let (tls, sent) = (Mutex::new(tls), Arc::default());
        Self(Arc::new(Shared { socket, tls, sent, _permit: permit }))
    }

    /// Counts the bytes given to the socket.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.sent)
    }

    pub(super) async fn shake_hands(&self) -> Result<(), TransportError> {
        loop {
            self.flush(true).await?;
            if !self.tls().is_handshaking() {
                return Ok(());
            }
            if self.receive(true).await? == 0 {
                let what = "the stream ended in the TLS handshake".to_owned();
                return Err(TransportError::Lost { what, early: true });
            }
        }
    }

    /// As [`super::Reader::read`].
    pub(super) async fn read(
        &self,
        buffer: &mut [u8],
        early: bool,
    ) -> Result<usize, TransportError> {
        loop {
            let read = self.tls().reader().read(buffer);
            match read {
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(lost(&error, early)),
            }
            self.receive(early).await?;
            self.flush_some(early)?;
        }
    }

    pub(super) async fn write_all(&self, bytes: &[u8]) -> Result<(), TransportError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.tls().writer().write(rest);
            let written = written.map_err(|error| lost(&error, false))?;
            rest = rest.get(written..).unwrap_or(&[]);
            self.flush(false).await?;
        }
        Ok(())
    }

    /// As [`super::Writer::write_some`].
    pub(super) async fn write_some(&self, bytes: &[u8]) -> Result<usize, TransportError> {
        self.flush(false).await?;
        let written = self.tls().writer().write(bytes).map_err(|error| lost(&error, false))?;
        self.flush_some(false)?;
        Ok(written)
    }

    /// Says goodbye and waits for the peer's end of the stream, but not long.
    pub(super) async fn finish(&self, time: Duration) {
        let goodbye = async {
            self.tls().send_close_notify();
            if self.flush(false).await.is_ok() {
                let _ = self.0.socket.get_ref().shutdown(Shutdown::Write);
                let mut scrap = [0; 4096];
                while self.read(&mut scrap, false).await.is_ok_and(|len| len > 0) {}
            }
        };
        let late = async {
            smol::Timer::after(time).await;
        };
        smol::future::or(goodbye, late).await;
    }

    pub(super) fn shut_down(&self) {
        // It may be closed already, which is what is wanted.
        let _ = self.0.socket.get_ref().shutdown(Shutdown::Both);
    }

    /// Takes in what the socket has; 0 at its end.
    async fn receive(&self, early: bool) -> Result<usize, TransportError> {
        let len = self.0.socket.read_with(|mut socket| self.tls().read_tls(&mut socket)).await;
        let len = len.map_err(|error| lost(&error, early))?;
        let processed = self.tls().process_new_packets().map(|_| ());
        if let Err(error) = processed {
            // The alert that tells the peer; what happens to it changes nothing for us.
            let _ = self.flush(early).await;
            return Err(of_tls(&error, early));
        }
        Ok(len)
    }

    /// Sends what TLS has ready.
    pub(super) async fn flush(&self, early: bool) -> Result<(), TransportError> {
        while self.tls().wants_write() {
            let write = |mut socket: &TcpStream| {
                let mut tls = self.tls();
                // The other half may have sent it meanwhile.
                if tls.wants_write() { self.count(tls.write_tls(&mut socket)) } else { Ok(0) }
            };
            self.0.socket.write_with(write).await.map_err(|error| lost(&error, early))?;
        }
        Ok(())
    }

    /// Sends what the socket takes at once. A reader that waited for room would never empty the
    /// socket for a peer that waits for the same.
    fn flush_some(&self, early: bool) -> Result<(), TransportError> {
        let mut tls = self.tls();
        while tls.wants_write() {
            match self.count(tls.write_tls(&mut self.0.socket.get_ref())) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(&error, early)),
            }
        }
        Ok(())
    }

    fn count(&self, written: std::io::Result<usize>) -> std::io::Result<usize> {
        if let Ok(bytes) = &written {
            self.0.sent.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }

    pub(super) fn tls(&self) -> MutexGuard<'_, TlsState> {
        self.0.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(error: &std::io::Error, early: bool) -> TransportError {
    TransportError::Lost { what: error.to_string(), early }
}

fn of_tls(error: &rustls::Error, early: bool) -> TransportError {
    let what = error.to_string();
    let known = match error {
        rustls::Error::AlertReceived(alert) => TransportError::of_alert(u8::from(*alert)),
        _ => TransportError::of_words(&what),
    };
    known.unwrap_or(TransportError::Lost { what, early })
}
