//! SHELL: one socket to a server, plain or TLS, on which packets go and come.
//!
//! All waiting has an end: a deadline for reading, a limit for each write. Another thread ends it
//! sooner by a [`Stopper`], which shuts the socket down.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::error::MysqlError;
use super::packet::{self, Inbox};

/// Where a server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp {
        /// Resolved anew for each connection.
        host: String,
        /// Usually 3306.
        port: u16,
    },
    /// A unix socket's path.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Ends waiting from another thread, for good.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    sockets: Mutex<Sockets>,
    wake: Condvar,
}

/// The open sockets, by number.
#[derive(Debug, Default)]
struct Sockets {
    next: u64,
    open: Vec<(u64, Socket)>,
}

impl Stopper {
    /// Ends whatever waits now or will ever wait on it.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        for (_, socket) in self.lock().open.drain(..) {
            socket.shutdown();
        }
        self.0.wake.notify_all();
    }

    /// Whether [`Stopper::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps until then, or until stopped.
    pub fn sleep_until(&self, until: Instant) {
        let mut guard = self.lock();
        while !self.stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guard = match self.0.wake.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// From now on this socket is to be shut down, too; by which number it is known.
    fn watch(&self, socket: Socket) -> u64 {
        let mut sockets = self.lock();
        sockets.next += 1;
        let number = sockets.next;
        sockets.open.push((number, socket));
        drop(sockets);
        // Stopped between the connecting and here: nobody else would shut it down.
        if self.stopped() {
            self.stop();
        }
        number
    }

    fn forget(&self, number: u64) {
        self.lock().open.retain(|(known, _)| *known != number);
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn connect(address: &Address, timeout: Duration) -> io::Result<Self> {
        let (host, port) = match address {
            Address::Unix(path) => return UnixStream::connect(path).map(Self::Unix),
            Address::Tcp { host, port } => (host.as_str(), *port),
        };
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(Self::Tcp(socket));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    fn shutdown(&self) {
        // A socket that is already closed needs no closing.
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Self::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_write_timeout(Some(timeout)),
            Self::Unix(socket) => socket.set_write_timeout(Some(timeout)),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(buffer),
            Self::Unix(socket) => socket.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Wire {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
    /// Between the two, and after a failure between them.
    None,
}

/// One connection's packets.
pub struct Channel {
    wire: Wire,
    inbox: Inbox,
    outbox: Vec<u8>,
    local: bool,
    received: u64,
    stopper: Stopper,
    /// The stopper's number of this socket.
    number: u64,
}

impl Channel {
    /// Connects; `timeout` holds for each address of the name, and later for each write.
    /// (The name's resolution has the system's own limits.)
    ///
    /// # Errors
    /// No connection.
    pub fn connect(
        address: &Address,
        timeout: Duration,
        packet_max: usize,
        stopper: &Stopper,
    ) -> Result<Self, MysqlError> {
        if stopper.stopped() {
            return Err(MysqlError::Stopped);
        }
        let socket = Socket::connect(address, timeout).map_err(io_error("connecting"))?;
        socket.set_write_timeout(timeout).map_err(io_error("connecting"))?;
        let local = match &socket {
            Socket::Unix(_) => true,
            Socket::Tcp(socket) => {
                socket.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
        };
        let number = stopper.watch(socket.try_clone().map_err(io_error("connecting"))?);
        Ok(Self {
            wire: Wire::Plain(socket),
            inbox: Inbox::new(packet_max),
            outbox: Vec::new(),
            local,
            received: 0,
            stopper: stopper.clone(),
            number,
        })
    }

    /// Whether the peer is this machine: loopback or a unix socket.
    pub fn local(&self) -> bool {
        self.local
    }

    /// Whether nobody on the way can read along: TLS or a unix socket.
    pub fn secret(&self) -> bool {
        matches!(self.wire, Wire::Tls(_) | Wire::Plain(Socket::Unix(_)))
    }

    /// Goes on under TLS.
    ///
    /// # Errors
    /// A name that cannot be one of a certificate; bytes that came in clear behind the greeting,
    /// which somebody on the way may have put there. A bad certificate shows at the first read.
    pub fn secure(&mut self, config: &Arc<ClientConfig>, host: &str) -> Result<(), MysqlError> {
        if self.inbox.pending() {
            return Err(MysqlError::Tls("bytes came in clear before TLS began".into()));
        }
        let tls = |error: &dyn std::fmt::Display| MysqlError::Tls(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| tls(&error))?;
        let session =
            ClientConnection::new(Arc::clone(config), name).map_err(|error| tls(&error))?;
        self.wire = match std::mem::replace(&mut self.wire, Wire::None) {
            Wire::Plain(socket) => Wire::Tls(Box::new(StreamOwned::new(session, socket))),
            other => other,
        };
        Ok(())
    }

    /// Sends a command: numbering starts anew.
    ///
    /// # Errors
    /// As [`Channel::reply`].
    pub fn command(&mut self, payload: &[u8]) -> Result<(), MysqlError> {
        self.inbox.expect(0);
        self.reply(payload)
    }

    /// Sends a packet that answers the last one received.
    ///
    /// # Errors
    /// A closed connection, or one that does not take bytes in time.
    pub fn reply(&mut self, payload: &[u8]) -> Result<(), MysqlError> {
        self.outbox.clear();
        let next = packet::frame(payload, self.inbox.sequence(), &mut self.outbox);
        self.inbox.expect(next);
        let result = match &mut self.wire {
            Wire::Plain(socket) => socket.write_all(&self.outbox),
            Wire::Tls(stream) => stream.write_all(&self.outbox).and_then(|()| stream.flush()),
            Wire::None => Err(ErrorKind::NotConnected.into()),
        };
        // What was sent may be a password.
        self.outbox.fill(0);
        result.map_err(|error| self.failed("sending", error))
    }

    /// Waits for a whole packet; false if there is none by then. It stays until [`Channel::advance`].
    ///
    /// Reads what is at hand even if `deadline` has passed.
    ///
    /// # Errors
    /// A closed connection, or bytes that are not packets.
    pub fn poll(&mut self, deadline: Instant) -> Result<bool, MysqlError> {
        self.poll_until(deadline, |_| false)
    }

    /// The same, but a part of a packet will do if it is `enough`: [`Channel::begun`].
    ///
    /// # Errors
    /// As [`Channel::poll`].
    pub fn poll_until(
        &mut self,
        deadline: Instant,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, MysqlError> {
        loop {
            if self.inbox.poll()? || enough(self.inbox.begun()) {
                return Ok(true);
            }
            // The shortest wait that a socket knows; zero would mean for ever.
            let left = deadline.saturating_duration_since(Instant::now());
            let late = left < SHORTEST;
            match self.read(left.max(SHORTEST)) {
                Ok(0) => return Err(self.failed("receiving", ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.inbox.filled(count);
                    self.received += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    if late || Instant::now() >= deadline {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(self.failed("receiving", error)),
            }
        }
    }

    fn read(&mut self, timeout: Duration) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(socket) => {
                socket.set_read_timeout(timeout)?;
                socket.read(self.inbox.space())
            }
            Wire::Tls(stream) => {
                stream.sock.set_read_timeout(timeout)?;
                stream.read(self.inbox.space())
            }
            Wire::None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The packet that [`Channel::poll`] found; empty if there is none.
    pub fn packet(&self) -> &[u8] {
        self.inbox.packet()
    }

    /// What has come of the current packet, whole or not, and was not forgotten.
    pub fn begun(&self) -> &[u8] {
        self.inbox.begun()
    }

    /// Whether the current packet has come to its end.
    pub fn is_whole(&self) -> bool {
        self.inbox.is_whole()
    }

    /// Forgets what has come of the current packet, of which more is to come.
    pub fn forget_begun(&mut self) {
        self.inbox.forget_begun();
    }

    /// Bytes received so far: if they grow, the peer is alive.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets that packet.
    pub fn advance(&mut self) {
        self.inbox.advance();
    }

    /// Whether bytes beyond the current packet have been received.
    pub fn pending(&self) -> bool {
        self.inbox.pending()
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> MysqlError {
        if self.stopper.stopped() {
            return MysqlError::Stopped;
        }
        match error.kind() {
            ErrorKind::UnexpectedEof => MysqlError::Closed,
            // rustls's errors come as this kind.
            ErrorKind::InvalidData => MysqlError::Tls(error.to_string()),
            _ => MysqlError::Io { doing, error },
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stopper.forget(self.number);
        match &self.wire {
            Wire::Plain(socket) => socket.shutdown(),
            Wire::Tls(stream) => stream.sock.shutdown(),
            Wire::None => {}
        }
    }
}

/// Below this a wait is not worth the call.
const SHORTEST: Duration = Duration::from_millis(1);

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> MysqlError {
    move |error| MysqlError::Io { doing, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn pair() -> (Channel, TcpStream, Stopper) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        let stopper = Stopper::default();
        let channel =
            Channel::connect(&address, Duration::from_secs(5), 1 << 20, &stopper).unwrap();
        (channel, listener.accept().unwrap().0, stopper)
    }

    #[test]
    fn a_packet_in_two_halves_survives_a_deadline_between_them() {
        let (mut channel, mut server, _) = pair();
        server.write_all(&[3, 0, 0, 0, b'a']).unwrap();
        assert!(!channel.poll(Instant::now() + Duration::from_millis(20)).unwrap());
        server.write_all(b"bc").unwrap();
        assert!(channel.poll(Instant::now() + Duration::from_secs(5)).unwrap());
        assert_eq!(channel.packet(), b"abc");
        assert!(channel.local() && !channel.secret());
    }

    #[test]
    fn a_stopper_ends_a_wait_and_all_later_ones() {
        let (mut channel, _server, stopper) = pair();
        let other = stopper.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            other.stop();
        });
        let long = Instant::now() + Duration::from_secs(60);
        assert!(matches!(channel.poll(long), Err(MysqlError::Stopped)));
        stopper.sleep_until(long);
        assert!(Instant::now() < long);
        thread.join().unwrap();
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let (mut channel, server, _) = pair();
        drop(server);
        let long = Instant::now() + Duration::from_secs(60);
        assert!(matches!(channel.poll(long), Err(MysqlError::Closed)));
    }
}
