//! SHELL: hands datagrams on between one agent and its collector, and counts them.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// IPv4 and UDP headers.
const HEADER_BYTES: u64 = 28;

/// Runs until it is dropped.
pub(crate) struct Relay {
    /// Where the agent is to send.
    pub(crate) port: u16,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// To a collector on this machine.
    pub(crate) fn start(collector: u16) -> Self {
        let bind = || {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it is not zero");
            Arc::new(socket)
        };
        let (inner, outer) = (bind(), bind());
        outer.connect(("127.0.0.1", collector)).expect("it is an address");
        let port = inner.local_addr().expect("it is bound").port();
        let (up, down, stop) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let client = Arc::new(AtomicU64::new(0));
        let threads = vec![
            std::thread::spawn({
                let (inner, outer, count, stop, client) = (
                    Arc::clone(&inner),
                    Arc::clone(&outer),
                    Arc::clone(&up),
                    Arc::clone(&stop),
                    Arc::clone(&client),
                );
                move || {
                    let mut buffer = [0; 65536];
                    while !stop.load(Ordering::Relaxed) {
                        let Ok((len, from)) = inner.recv_from(&mut buffer) else { continue };
                        client.store(from.port().into(), Ordering::Relaxed);
                        count.fetch_add(len as u64 + HEADER_BYTES, Ordering::Relaxed);
                        let _ = outer.send(&buffer[..len]);
                    }
                }
            }),
            std::thread::spawn({
                let (count, stop) = (Arc::clone(&down), Arc::clone(&stop));
                move || {
                    let mut buffer = [0; 65536];
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(len) = outer.recv(&mut buffer) else { continue };
                        count.fetch_add(len as u64 + HEADER_BYTES, Ordering::Relaxed);
                        let port = client.load(Ordering::Relaxed) as u16;
                        let _ = inner.send_to(&buffer[..len], ("127.0.0.1", port));
                    }
                }
            }),
        ];
        Self { port, up, down, stop, threads }
    }

    /// Edge → centre and back, with IP and UDP headers.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
