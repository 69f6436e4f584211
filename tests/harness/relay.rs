//! Bad links in user space: datagrams and streams on their way from one process to another are dropped,
//! delayed, doubled, reordered or cut, by a seed.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// What happens to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// So many of a thousand are lost.
    pub loss: u16,
    /// So many of a thousand come twice.
    pub twice: u16,
    /// Each takes between nothing and this: later ones overtake earlier ones.
    pub delay_max: Duration,
    /// Nothing passes.
    pub cut: bool,
}

/// What has passed, to see that the weather was as bad as it should be.
#[derive(Debug, Default)]
pub struct Counts {
    pub passed: AtomicU64,
    pub lost: AtomicU64,
    pub twice: AtomicU64,
    pub overtaken: AtomicU64,
}

/// Hands datagrams on. Runs until it is dropped.
pub struct UdpRelay {
    /// Where clients are to send.
    pub port: u16,
    pub counts: Arc<Counts>,
    weather: Arc<Mutex<Weather>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often a relay looks; what a link adds at least.
const LOOK: Duration = Duration::from_micros(300);
/// Clients' ports remembered; a link that was lost comes again from another one.
const FLOWS_MAX: usize = 64;

impl UdpRelay {
    /// To a process on this machine.
    pub fn start(to: u16, seed: u64) -> Self {
        let inner = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
        inner.set_nonblocking(true).expect("a socket");
        let port = inner.local_addr().expect("it is bound").port();
        let (weather, stop, counts) =
            <(Arc<Mutex<Weather>>, Arc<AtomicBool>, Arc<Counts>)>::default();
        let mut carrier = Carrier {
            inner,
            to,
            random: fastrand::Rng::with_seed(seed),
            flows: HashMap::new(),
            order: Vec::new(),
            waiting: BTreeMap::new(),
            number: 0,
            highest: [0; 2],
            counts: Arc::clone(&counts),
        };
        let (sky, end) = (Arc::clone(&weather), Arc::clone(&stop));
        let thread = spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let weather = *sky.lock().expect("nobody panics with it");
                carrier.turn(weather);
                sleep(LOOK);
            }
        });
        Self { port, counts, weather, stop, thread: Some(thread) }
    }

    pub fn weather(&self, weather: Weather) {
        *self.weather.lock().expect("nobody panics with it") = weather;
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// A datagram under way: which client it is of, and whether it goes to it.
struct Datagram {
    client: SocketAddr,
    back: bool,
    bytes: Vec<u8>,
    number: u64,
}

struct Carrier {
    inner: UdpSocket,
    to: u16,
    random: fastrand::Rng,
    flows: HashMap<SocketAddr, UdpSocket>,
    order: Vec<SocketAddr>,
    waiting: BTreeMap<(Instant, u64), Datagram>,
    number: u64,
    /// The last one that left, of those to the process and of those back.
    highest: [u64; 2],
    counts: Arc<Counts>,
}

impl Carrier {
    fn turn(&mut self, weather: Weather) {
        let mut buffer = [0; 65536];
        while let Ok((len, client)) = self.inner.recv_from(&mut buffer) {
            self.take(weather, client, false, &buffer[..len]);
        }
        for client in self.order.clone() {
            while let Some(Ok(len)) = self.flows.get(&client).map(|flow| flow.recv(&mut buffer)) {
                self.take(weather, client, true, &buffer[..len]);
            }
        }
        let now = Instant::now();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let datagram = first.remove();
            if weather.cut {
                continue;
            }
            let highest = &mut self.highest[usize::from(datagram.back)];
            let overtaken = u64::from(datagram.number < *highest);
            self.counts.overtaken.fetch_add(overtaken, Ordering::Relaxed);
            *highest = datagram.number.max(*highest);
            self.send(&datagram);
        }
    }

    fn take(&mut self, weather: Weather, client: SocketAddr, back: bool, bytes: &[u8]) {
        let one_of = |random: &mut fastrand::Rng, share| random.u16(..1000) < share;
        if weather.cut || one_of(&mut self.random, weather.loss) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.passed.fetch_add(1, Ordering::Relaxed);
        let copies = 1 + u64::from(one_of(&mut self.random, weather.twice));
        self.counts.twice.fetch_add(copies - 1, Ordering::Relaxed);
        for _ in 0..copies {
            self.number += 1;
            let due = Instant::now() + weather.delay_max.mul_f64(self.random.f64());
            let (bytes, number) = (bytes.to_vec(), self.number);
            self.waiting.insert((due, number), Datagram { client, back, bytes, number });
        }
    }

    fn send(&mut self, datagram: &Datagram) {
        let Datagram { client, back, bytes, .. } = datagram;
        // What cannot be sent is lost, as on any link.
        if *back {
            let _ = self.inner.send_to(bytes, client);
            return;
        }
        if !self.flows.contains_key(client) {
            let flow = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
            flow.set_nonblocking(true).expect("a socket");
            flow.connect(("127.0.0.1", self.to)).expect("it is an address");
            self.flows.insert(*client, flow);
            self.order.push(*client);
            if self.order.len() > FLOWS_MAX {
                self.flows.remove(&self.order.remove(0));
            }
        }
        if let Some(flow) = self.flows.get(client) {
            let _ = flow.send(bytes);
        }
    }
}

/// What happens to streams; nothing of them is lost while they live.
#[derive(Clone, Copy, Debug, Default)]
pub struct Current {
    /// Each piece takes so much longer, and is a small one.
    pub delay: Duration,
    /// Nothing moves, and whoever connects waits.
    pub held: bool,
}

/// Hands streams on. Runs until it is dropped.
pub struct TcpRelay {
    /// Where clients are to connect.
    pub port: u16,
    current: Arc<Mutex<Current>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TcpRelay {
    /// To a process on this machine.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("it is bound").port();
        let (streams, stop) = <(Arc<Mutex<Vec<TcpStream>>>, Arc<AtomicBool>)>::default();
        let current: Arc<Mutex<Current>> = Arc::default();
        let (all, end, flow) = (Arc::clone(&streams), Arc::clone(&stop), Arc::clone(&current));
        let thread = spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if flow.lock().expect("nobody panics with it").held {
                    sleep(Duration::from_millis(5));
                    continue;
                }
                match listener.accept() {
                    Ok((client, _)) => connect(&client, to, &all, &flow),
                    Err(_) => sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { port, current, streams, stop, thread: Some(thread) }
    }

    pub fn current(&self, current: Current) {
        *self.current.lock().expect("nobody panics with it") = current;
    }

    /// Every connection ends here and now.
    pub fn cut(&self) {
        for stream in self.streams.lock().expect("nobody panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.cut();
        self.thread.take().map(JoinHandle::join);
    }
}

fn connect(
    client: &TcpStream,
    to: u16,
    all: &Mutex<Vec<TcpStream>>,
    current: &Arc<Mutex<Current>>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    for (from, to) in [(client, &server), (&server, client)] {
        from.set_nonblocking(false).expect("a socket");
        let again = |stream: &TcpStream| stream.try_clone().expect("a second handle of a socket");
        let (mut from, mut to) = (again(from), again(to));
        all.lock().expect("nobody panics with it").push(again(&from));
        let current = Arc::clone(current);
        spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                let len = if wait(&current) { PIECE_BYTES } else { buffer.len() };
                match from.read(&mut buffer[..len]) {
                    Ok(len) if len > 0 => {
                        wait(&current);
                        if to.write_all(&buffer[..len]).is_err() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

/// For as long as the current holds the stream, or delays it; whether it did.
fn wait(current: &Mutex<Current>) -> bool {
    let mut waited = false;
    loop {
        let Current { delay, held } = *current.lock().expect("nobody panics with it");
        sleep(if held { Duration::from_millis(5) } else { delay });
        waited |= held || !delay.is_zero();
        if !held {
            return waited;
        }
    }
}

/// What a slow stream carries at once.
const PIECE_BYTES: usize = 4096;
