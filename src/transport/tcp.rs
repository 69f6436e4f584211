//! SHELL: TCP in the clear, for a broker on this machine or behind a tunnel of its own.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_io::Async;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::{Connection, TransportError};

/// One direction of a stream.
#[derive(Clone, Debug)]
pub(super) struct Half {
    socket: Arc<Async<TcpStream>>,
    /// Bytes given to the socket.
    sent: Arc<AtomicU64>,
}

/// Dials one address.
pub(super) async fn dial(address: SocketAddr) -> Result<Connection, TransportError> {
    let socket = Async::<TcpStream>::connect(address).await;
    let socket =
        socket.map_err(|error| TransportError::Unreachable { address, what: error.to_string() })?;
    // Acknowledgements are small and must not wait for company.
    let _ = socket.get_ref().set_nodelay(true);
    let half = Half { socket: Arc::new(socket), sent: Arc::default() };
    Ok(Connection::plain(address, half))
}

impl Half {
    /// Counts the bytes given to the socket.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// As [`super::Reader::read`].
    pub(super) async fn read(
        &self,
        buffer: &mut [u8],
        early: bool,
    ) -> Result<usize, TransportError> {
        (&*self.socket).read(buffer).await.map_err(|error| lost(&error, early))
    }

    /// As [`super::Writer::write_some`].
    pub(super) async fn write_some(&self, bytes: &[u8]) -> Result<usize, TransportError> {
        let written = (&*self.socket).write(bytes).await.map_err(|error| lost(&error, false))?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    pub(super) async fn write_all(&self, bytes: &[u8]) -> Result<(), TransportError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.write_some(rest).await?;
            rest = rest.get(written..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Ends our direction and waits for the peer's end, but not long.
    pub(super) async fn finish(&self, time: Duration) {
        let ended = async {
            let _ = self.socket.get_ref().shutdown(Shutdown::Write);
            let mut scrap = [0; 4096];
            while self.read(&mut scrap, false).await.is_ok_and(|len| len > 0) {}
        };
        let late = async {
            smol::Timer::after(time).await;
        };
        smol::future::or(ended, late).await;
    }

    pub(super) fn shut_down(&self) {
        // It may be closed already, which is what is wanted.
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
    }
}

fn lost(error: &std::io::Error, early: bool) -> TransportError {
    TransportError::Lost { what: error.to_string(), early }
}
