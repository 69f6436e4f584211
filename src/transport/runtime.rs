//! SHELL: what QUIC's tasks run on: smol's sockets and clock, asked as rarely as can be.
//!
//! Whatever waits for a socket or a clock wakes async-io's thread, and that thread wakes us. So the kernel is
//! asked itself, by a datagram that is sent or fetched, and async-io only where that could not be; and an alarm
//! that is put off rings at its old time, finds that it is too early, and is set anew: most are put off
//! many times before that.
//!
//! To ask the kernel first has a second reason: async-io takes no event for one that was registered while
//! its thread already waited. Who believes it alone may be woken thousands of times until it says
//! `ready`.

use std::fmt;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut, Result};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::{Async, Timer};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, UdpPoller};
use smol::Executor;

/// Runs QUIC's tasks on an executor, or on smol's own threads.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    executor: Option<Arc<Executor<'static>>>,
}

impl Runtime {
    pub(super) fn on(executor: Arc<Executor<'static>>) -> Self {
        Self { executor: Some(executor) }
    }
}

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Alarm::at(at))
    }

    fn spawn(&self, task: smol::future::Boxed<()>) {
        match &self.executor {
            Some(executor) => executor.spawn(task).detach(),
            None => smol::spawn(task).detach(),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket)?))
    }
}

/// Rings at a time that can be changed. Keep it: to put it off costs nothing.
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
    /// When the timer ends; not after `due`.
    set: Instant,
    due: Instant,
}

impl Alarm {
    /// Rings at `due`.
    pub fn at(due: Instant) -> Self {
        Self { timer: Timer::at(due), set: due, due }
    }

    /// Changes when it rings, and waits for that. Can be cancelled.
    pub async fn until(&mut self, due: Instant) {
        self.change(due);
        poll_fn(|context| self.rings(context)).await;
    }

    fn change(&mut self, due: Instant) {
        self.due = due;
        if due < self.set {
            self.set(due);
        }
    }

    fn set(&mut self, at: Instant) {
        self.set = at;
        self.timer.set_at(at);
    }

    fn rings(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(Future::poll(Pin::new(&mut self.timer), context));
            // A timer that has ended must be set before it is asked again.
            self.set(self.due);
            if self.due <= Instant::now() {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncTimer for Alarm {
    fn reset(mut self: Pin<&mut Self>, due: Instant) {
        self.change(due);
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.rings(context)
    }
}

#[derive(Debug)]
struct Socket {
    io: Async<UdpSocket>,
    state: UdpSocketState,
    /// The kernel had no room for the last datagram.
    full: AtomicBool,
}

impl Socket {
    fn new(socket: UdpSocket) -> Result<Self> {
        // It also makes the socket nonblocking.
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: Async::new_nonblocking(socket)?, state, full: AtomicBool::new(false) })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, room: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> Result<()> {
        let sent = self.state.send((&self.io).into(), transmit);
        let full = sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.full.store(full, Ordering::Relaxed);
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<Result<usize>> {
        loop {
            // Whatever the error is, it speaks of datagrams that were sent, and not of the socket.
            if let Ok(count) = self.state.recv((&self.io).into(), buffers, meta) {
                return Poll::Ready(Ok(count));
            }
            ready!(self.io.poll_readable(context))?;
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// A task's way to wait until a datagram may be sent.
struct Poller {
    socket: Arc<Socket>,
    room: Option<Room>,
}

type Room = Pin<Box<dyn Future<Output = Result<()>> + Send + Sync>>;

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        // Who waited has been woken: the next datagram will tell.
        let waited = self.room.take().is_some();
        if !waited && self.socket.full.load(Ordering::Relaxed) {
            let socket = Arc::clone(&self.socket);
            let mut room: Room = Box::pin(async move { socket.io.writable().await });
            if room.as_mut().poll(context).is_pending() {
                self.room = Some(room);
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use smol::future;

    #[test]
    fn an_alarm_rings_when_it_is_due_however_often_that_is_changed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut alarm = Alarm::at(at(30));
        smol::block_on(async {
            for due in [60, 20, 90, 40] {
                future::poll_once(alarm.until(at(due))).await;
            }
            alarm.until(at(40)).await;
            assert!(Instant::now() >= at(40));
            // It has rung; it can be used again, and one that is late rings at once.
            alarm.until(at(70)).await;
            assert!(Instant::now() >= at(70));
            alarm.until(at(10)).await;
            assert!(future::poll_once(alarm.until(at(3_600_000))).await.is_none());
        });
    }

    #[test]
    fn a_full_socket_is_waited_for_and_one_with_room_is_not() {
        smol::block_on(async {
            let socket = Arc::new(Socket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
            let mut poller = Arc::clone(&socket).create_io_poller();
            let asked = poll_fn(|context| poller.as_mut().poll_writable(context));
            assert!(future::poll_once(asked).await.is_some(), "answered without asking");
            socket.full.store(true, Ordering::Relaxed);
            let mut pauses = 0;
            poll_fn(|context| {
                let asked = poller.as_mut().poll_writable(context);
                pauses += u32::from(asked.is_pending());
                asked
            })
            .await
            .unwrap();
            assert_eq!(pauses, 1, "until the kernel says that it has room");
        });
    }

    #[test]
    fn datagrams_are_fetched_however_they_come() {
        smol::block_on(async {
            let socket = Socket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            let (to, from) =
                (socket.local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
            let mut bytes = [0; 100];
            for turn in 0..200 {
                // There already, or on its way while we wait.
                let late = turn % 2 == 1;
                let send = || assert_eq!(from.send_to(&[turn; 3], to).unwrap(), 3);
                if !late {
                    send();
                }
                let mut meta = [RecvMeta::default()];
                let mut polls = 0;
                let received = poll_fn(|context| {
                    polls += 1;
                    let buffers = &mut [IoSliceMut::new(&mut bytes)];
                    let received = socket.poll_recv(context, buffers, &mut meta);
                    if late && polls == 1 {
                        assert!(received.is_pending());
                        send();
                    }
                    received
                });
                assert_eq!(received.await.unwrap(), 1);
                assert!(polls <= 3, "woken {polls} times for one datagram");
                assert_eq!((meta[0].len, &bytes[..3]), (3, &[turn; 3][..]));
            }
        });
    }
}
