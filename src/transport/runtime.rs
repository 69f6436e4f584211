//! SHELL: what QUIC's tasks run on: smol's sockets and clock, asked as rarely as can be.
//!
//! Whatever waits for a socket or a clock wakes async-io's thread, and that thread wakes us. So a datagram is
//! handed to the kernel without asking first whether there is room, as there nearly always is; and an
//! alarm that is put off rings at its old time, finds that it is too early, and is set anew: most are put off
//! many times before that.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut, Result};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, SmolRuntime, UdpPoller};
use smol::{Executor, Timer};

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
        let socket = SmolRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(Socket { socket, full: AtomicBool::new(false) }))
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
    socket: Arc<dyn AsyncUdpSocket>,
    /// The kernel had no room for a datagram, and has not said since that it has.
    full: AtomicBool,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let room = Arc::clone(&self.socket).create_io_poller();
        Box::pin(Poller { room, socket: self })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> Result<()> {
        let sent = self.socket.try_send(transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<Result<usize>> {
        self.socket.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[derive(Debug)]
struct Poller {
    room: Pin<Box<dyn UdpPoller>>,
    socket: Arc<Socket>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.socket.full.load(Ordering::Relaxed) {
            ready!(self.room.as_mut().poll_writable(context))?;
            self.socket.full.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use quinn::Runtime as _;
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
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let socket = SmolRuntime.wrap_udp_socket(socket).unwrap();
            let socket = Arc::new(Socket { socket, full: AtomicBool::new(true) });
            let mut poller = Arc::clone(&socket).create_io_poller();
            poll_fn(|context| poller.as_mut().poll_writable(context)).await.unwrap();
            assert!(!socket.full.load(Ordering::Relaxed), "the kernel has said that it has room");
            let asked =
                future::poll_once(poll_fn(|context| poller.as_mut().poll_writable(context)));
            assert!(asked.await.is_some(), "answered without asking");
        });
    }
}
