//! SHELL: the link's loop against real listeners, through a relay that stands for a network.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use smol::channel;

use super::bell::Bell;
use super::link::{self, End, Ties};
use super::pump::{Pump, Shared};
use super::pump_tests::pump_settings;
use super::road::Dial;
use crate::batch::{Ack, Demand, Message, Meta};
use crate::buffer::{self, Buffer, Durability, Parcel};
use crate::collector::desk::{Desk, Wish};
use crate::collector::pki;
use crate::mqtt::{Input, ServerSettings};
use crate::position::{Checkpoint, Sequence};
use crate::telemetry::counters::Counters;
use crate::telemetry::status::State;
use crate::transport::{
    ClientFiles, Connection, Dialer, EndpointAddress, IdentityFiles, Listener, QuicSettings,
    Scheme, ServerTls, TlsListener,
};
use crate::uplink::BudgetLimits;

const AGENT: &str = "edge-17";

/// A folder with a CA and both ends' certificates.
fn keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    pki::init(dir.path(), pki::CA_DAYS).unwrap();
    pki::collector(dir.path(), &["127.0.0.1".to_owned()], pki::LEAF_DAYS).unwrap();
    pki::agent(dir.path(), AGENT, pki::LEAF_DAYS).unwrap();
    dir
}

fn server_tls(keys: &Path) -> ServerTls {
    let (chain, key) = (keys.join("collector.pem"), keys.join("collector.key"));
    ServerTls::load(&keys.join("ca.pem"), IdentityFiles { chain: &chain, key: &key }).unwrap()
}

fn agent_files(keys: &Path) -> (PathBuf, PathBuf) {
    (keys.join(format!("agents/{AGENT}.pem")), keys.join(format!("agents/{AGENT}.key")))
}

/// A collector that keeps the numbers of its one agent's batches in memory.
#[derive(Default)]
struct Centre {
    /// In the order in which they were taken; a number that comes again is dropped.
    taken: Mutex<Vec<u64>>,
    last_crc: AtomicU64,
    /// Messages, also those that were dropped.
    messages: AtomicU64,
    /// Nothing is answered.
    speechless: AtomicBool,
    /// What each connection came over, once the agent was let in.
    entered: Mutex<Vec<Scheme>>,
    /// The conversations that go on.
    tasks: Mutex<Vec<smol::Task<()>>>,
}

impl Centre {
    fn taken(&self) -> Vec<u64> {
        self.taken.lock().unwrap().clone()
    }

    fn entered(&self) -> Vec<Scheme> {
        self.entered.lock().unwrap().clone()
    }

    fn quic(self: &Arc<Self>, keys: &Path) -> Arc<Listener> {
        self.quic_for(keys, QuicSettings::default().idle_timeout)
    }

    fn quic_for(self: &Arc<Self>, keys: &Path, idle_timeout: Duration) -> Arc<Listener> {
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = QuicSettings { idle_timeout, ..QuicSettings::default() };
        let listener = Listener::bind(any, &server_tls(keys), settings, &[7; 32], 50).unwrap();
        let (listener, centre) = (Arc::new(listener), self.clone());
        let accepting = listener.clone();
        let accept = async move {
            while let Some(incoming) = accepting.accept().await {
                let (serving, centre) = (centre.clone(), centre.clone());
                let task = smol::spawn(async move {
                    if let Ok(connection) = incoming.establish(Duration::from_secs(10)).await {
                        serving.serve(connection, Scheme::Quic).await;
                    }
                });
                centre.tasks.lock().unwrap().push(task);
            }
        };
        smol::spawn(accept).detach();
        listener
    }

    fn tls(self: &Arc<Self>, keys: &Path) -> u16 {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = TlsListener::bind(any, &server_tls(keys), 50).unwrap();
        let port = listener.local_address().unwrap().port();
        let centre = self.clone();
        let accept = async move {
            while let Ok(incoming) = listener.accept().await {
                let (serving, centre) = (centre.clone(), centre.clone());
                let task = smol::spawn(async move {
                    if let Ok(connection) = incoming.establish(Duration::from_secs(10)).await {
                        serving.serve(connection, Scheme::Tls).await;
                    }
                });
                centre.tasks.lock().unwrap().push(task);
            }
        };
        smol::spawn(accept).detach();
        port
    }

    /// Ends all conversations without a word.
    fn hang_up(&self) {
        self.tasks.lock().unwrap().clear();
    }

    async fn serve(&self, connection: Connection, scheme: Scheme) {
        let settings = ServerSettings {
            receive_maximum: 64,
            packet_bytes_max: 1 << 20,
            keep_alive_s_max: 60,
            patience: Duration::from_secs(30),
        };
        let Connection { mut reader, mut writer, .. } = connection;
        let mut desk = Desk::new(settings, "t", AGENT);
        desk.handle(Input::Opened, Instant::now()).unwrap();
        let mut buffer = vec![0; 65_536];
        loop {
            while let Some(wish) = desk.wish() {
                let now = Instant::now();
                match wish {
                    Wish::Entered => self.entered.lock().unwrap().push(scheme),
                    Wish::Batch { token, message } => {
                        let demand = self.take(&message);
                        desk.done(token, false, now).unwrap();
                        desk.tell(&self.ack(demand), now).unwrap();
                    }
                    Wish::WantsAck => desk.tell(&self.ack(None), now).unwrap(),
                    Wish::WantsStatus | Wish::Refused(_) | Wish::Status(_) | Wish::Over(_) => {}
                }
            }
            while let Some(bytes) = desk.poll() {
                let speechless = self.speechless.load(Ordering::Relaxed);
                if !speechless && writer.write(bytes).await.is_err() {
                    return;
                }
            }
            match reader.read(&mut buffer).await {
                Ok(len) if len > 0 && !desk.is_over() => {
                    desk.handle(Input::Bytes(&buffer[..len]), Instant::now()).unwrap();
                }
                _ => return,
            }
        }
    }

    fn take(&self, message: &[u8]) -> Option<Demand> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let message = Message::parse(message).unwrap();
        let (number, mut taken) = (message.identity.sequence.0, self.taken.lock().unwrap());
        let next = taken.last().map_or(1, |last| last + 1);
        if number == next {
            taken.push(number);
            self.last_crc.store(message.crc.into(), Ordering::Relaxed);
        }
        (number > next).then_some(Demand::Rewind)
    }

    fn ack(&self, demand: Option<Demand>) -> Ack {
        let sequence = Sequence(self.taken.lock().unwrap().last().copied().unwrap_or(0));
        let crc = self.last_crc.load(Ordering::Relaxed) as u32;
        let epoch = u64::from(sequence.0 > 0);
        Ack { version: 1, epoch, sequence, crc, demand, demand_epoch: 1, ..Ack::default() }
    }
}

/// A network between an agent and a UDP port.
#[derive(Default)]
struct Relay {
    port: u16,
    /// Nothing passes.
    blocked: AtomicBool,
    /// Nothing passes towards the agent.
    mute: AtomicBool,
    /// The agent seems to have another address.
    moved: AtomicBool,
    agent: Mutex<Option<SocketAddr>>,
    /// What passed from the agent: payloads and the headers of IP and UDP, and when it had become so much.
    passed: Mutex<Vec<(Instant, u64)>>,
    /// The datagrams themselves.
    recorded: Mutex<Vec<Vec<u8>>>,
}

impl Relay {
    fn before(listener: &Listener) -> Arc<Self> {
        let to = listener.local_address().unwrap();
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            (smol::net::UdpSocket::from(async_io::Async::new(socket).unwrap()), port)
        };
        let (near, port) = socket();
        let far = [socket().0, socket().0];
        let relay = Arc::new(Self { port, ..Self::default() });
        for far in far.clone() {
            smol::spawn(relay.clone().down(far, near.clone())).detach();
        }
        smol::spawn(relay.clone().up(near, far, to)).detach();
        relay
    }

    async fn up(
        self: Arc<Self>,
        near: smol::net::UdpSocket,
        far: [smol::net::UdpSocket; 2],
        to: SocketAddr,
    ) {
        let mut datagram = vec![0; 65_536];
        loop {
            let (len, from) = near.recv_from(&mut datagram).await.unwrap();
            if self.blocked.load(Ordering::Relaxed) {
                continue;
            }
            *self.agent.lock().unwrap() = Some(from);
            self.note(&datagram[..len]);
            let far = &far[usize::from(self.moved.load(Ordering::Relaxed))];
            let _ = far.send_to(&datagram[..len], to).await;
        }
    }

    async fn down(self: Arc<Self>, far: smol::net::UdpSocket, near: smol::net::UdpSocket) {
        let mut datagram = vec![0; 65_536];
        loop {
            let len = far.recv(&mut datagram).await.unwrap();
            let agent = *self.agent.lock().unwrap();
            let stopped = [&self.blocked, &self.mute].map(|stop| stop.load(Ordering::Relaxed));
            if let Some(agent) = agent.filter(|_| stopped == [false, false]) {
                let _ = near.send_to(&datagram[..len], agent).await;
            }
        }
    }

    fn note(&self, datagram: &[u8]) {
        let mut passed = self.passed.lock().unwrap();
        let before = passed.last().map_or(0, |(_, bytes)| *bytes);
        passed.push((Instant::now(), before + datagram.len() as u64 + 28));
        self.recorded.lock().unwrap().push(datagram.to_vec());
    }

    fn bytes(&self) -> u64 {
        self.passed.lock().unwrap().last().map_or(0, |(_, bytes)| *bytes)
    }
}

fn at(scheme: Scheme, port: u16) -> EndpointAddress {
    EndpointAddress { scheme, host: "127.0.0.1".to_owned(), port, server_name: None }
}

fn dial(keys: &Path, endpoints: &[EndpointAddress]) -> Dial {
    Dial {
        endpoints: endpoints.to_vec(),
        files: ClientFiles::load(keys.join("ca.pem"), Some(agent_files(keys))).unwrap(),
        quic: QuicSettings::default(),
        timeout: Duration::from_millis(500),
        probe_every: Duration::from_secs(600),
        early_data: true,
        budget: BudgetLimits::default(),
        look_every: Duration::from_secs(600),
    }
}

/// A link that runs in a thread.
struct Agent {
    shared: Shared,
    counters: Arc<Counters>,
    staged: Arc<Bell>,
    stop: channel::Sender<&'static str>,
    thread: JoinHandle<End>,
}

impl Agent {
    fn start(folder: &Path, dial: Dial) -> Self {
        let settings = buffer::Settings {
            bytes_max: 64 << 20,
            durability: Durability::Normal,
            boot_id: "boot".to_owned(),
        };
        let (mut buffer, _) = Buffer::open(&folder.join("b"), settings).unwrap();
        if buffer.checkpoint().unwrap().is_none() {
            buffer.commit(&[], &Checkpoint::default()).unwrap();
        }
        let shared = Shared::new(buffer);
        let staged = Arc::new(Bell::default());
        let (stop, stopped) = channel::bounded(1);
        let counters = Arc::new(Counters::new(Instant::now()));
        let ties = Ties {
            counters: counters.clone(),
            agent: AGENT.to_owned(),
            staged: Arc::clone(&staged),
            idle: Arc::default(),
            behind: Arc::default(),
            stop: stopped,
            budget: channel::unbounded().1,
            finished: Arc::default(),
        };
        let mut pump = Pump::new(pump_settings(), shared.clone());
        let run = {
            let shared = shared.clone();
            move || smol::block_on(link::run(&mut pump, dial, shared, &ties))
        };
        let thread = std::thread::spawn(run);
        Self { shared, counters, staged, stop, thread }
    }

    fn commit(&self, bytes: usize) {
        let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
        let meta = Meta::default().encode();
        let parcel = Parcel { meta, body, rows: 1, transactions: 1, schemas: Vec::new() };
        self.shared.lock().buffer.commit(&[parcel], &Checkpoint::default()).unwrap();
        self.staged.ring();
    }

    fn status(&self) -> crate::telemetry::status::Link {
        self.counters.status(AGENT, Instant::now()).link
    }

    fn stop(self) {
        self.stop.try_send("test").unwrap();
        assert_eq!(self.thread.join().unwrap(), End::Stopped("test"));
        self.shared.into_inner().unwrap().close().unwrap();
    }
}

/// Far beyond what it takes on a busy machine.
#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(90), "{what}: never");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn numbers(upto: u64) -> Vec<u64> {
    (1..=upto).collect()
}

#[test]
fn where_no_udp_passes_batches_go_over_tcp_and_a_restart_remembers_that() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let quic = at(Scheme::Quic, silent.local_addr().unwrap().port());
    let endpoints = [quic, at(Scheme::Tls, centre.tls(keys.path()))];
    let agent = Agent::start(folder.path(), dial(keys.path(), &endpoints));
    agent.commit(1000);
    until("over TCP", || centre.taken() == [1]);
    assert!(agent.status().endpoint.starts_with("mqtts://"));
    agent.stop();

    let patient = Dial { timeout: Duration::from_secs(3600), ..dial(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), patient);
    agent.commit(1000);
    until("at once over TCP", || centre.taken() == [1, 2]);
    assert_eq!(centre.entered(), [Scheme::Tls, Scheme::Tls]);
    agent.stop();
}

#[test]
fn the_link_goes_back_to_quic_when_udp_passes_and_nothing_is_lost_on_the_way() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let listener = centre.quic(keys.path());
    let relay = Relay::before(&listener);
    relay.blocked.store(true, Ordering::Relaxed);
    let endpoints = [at(Scheme::Quic, relay.port), at(Scheme::Tls, centre.tls(keys.path()))];
    let probing = Dial { probe_every: Duration::from_millis(300), ..dial(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), probing);
    for _ in 0..50 {
        agent.commit(20_000);
    }
    until("over TCP", || centre.taken().len() >= 50);
    relay.blocked.store(false, Ordering::Relaxed);
    let mut count = 50;
    let start = Instant::now();
    while !centre.entered().contains(&Scheme::Quic) {
        assert!(start.elapsed() < Duration::from_secs(90), "never back on QUIC");
        agent.commit(20_000);
        count += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    agent.commit(20_000);
    until("all of it", || centre.taken().len() as u64 == count + 1);
    assert_eq!(centre.taken(), numbers(count + 1));
    assert_eq!(centre.entered(), [Scheme::Tls, Scheme::Quic]);
    assert!(agent.status().endpoint.starts_with("quic://"));
    agent.stop();
}

#[test]
fn the_receiving_socket_never_sees_more_than_the_budget_of_a_second() {
    const RATE: u64 = 100_000;
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let listener = centre.quic(keys.path());
    let relay = Relay::before(&listener);
    let budget = BudgetLimits { per_second: Some(RATE), ..BudgetLimits::default() };
    let endpoints = [at(Scheme::Quic, relay.port)];
    let timeout = Duration::from_secs(20);
    let start = Instant::now();
    let dial = Dial { budget, timeout, ..dial(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), dial);
    for _ in 0..12 {
        agent.commit(30_000);
    }
    until("all of it", || centre.taken().len() == 12);
    // What is late at the socket was sent earlier, which can only make less of it.
    for (at, bytes) in relay.passed.lock().unwrap().iter() {
        let allowed = RATE as f64 * (*at - start).as_secs_f64() * 1.01 + 2000.0;
        assert!((*bytes as f64) < allowed, "{bytes} bytes after {:?}", *at - start);
    }
    assert!(relay.bytes() > 360_000);
    agent.stop();
}

#[test]
fn a_used_up_day_closes_the_link_and_a_restart_knows() {
    const DAY: u64 = 300_000;
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let listener = centre.quic(keys.path());
    let relay = Relay::before(&listener);
    let budget = BudgetLimits { per_day: Some(DAY), ..BudgetLimits::default() };
    let endpoints = [at(Scheme::Quic, relay.port)];
    let timeout = Duration::from_secs(20);
    let with_budget = || Dial { budget, timeout, ..dial(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), with_budget());
    for _ in 0..20 {
        agent.commit(30_000);
    }
    until("over budget", || agent.status().state == State::OverBudget);
    assert!(relay.bytes() <= DAY + DAY / 100, "{}", relay.bytes());
    assert!(centre.taken().len() >= 6, "{:?}", centre.taken());
    agent.stop();
    let (bytes, taken) = (relay.bytes(), centre.taken());
    let agent = Agent::start(folder.path(), with_budget());
    until("still over budget", || agent.status().state == State::OverBudget);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((relay.bytes(), centre.taken()), (bytes, taken));
    agent.stop();
}

#[test]
fn certificates_that_are_replaced_on_disk_are_used_without_losing_the_link() {
    let (keys, other) = (keys(), self::keys());
    let (folder, centre) = (tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let listener = centre.quic(keys.path());
    let port = listener.local_address().unwrap().port();
    let endpoints = [at(Scheme::Quic, port)];
    let looking = Dial { look_every: Duration::from_millis(100), ..dial(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), looking);
    agent.commit(1000);
    until("with the old ones", || centre.taken() == [1]);
    // Half of a change is none.
    let (chain, key) = agent_files(keys.path());
    let (new_chain, new_key) = agent_files(other.path());
    std::fs::copy(new_chain, chain).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    agent.commit(1000);
    until("with the old ones", || centre.taken() == [1, 2]);
    assert_eq!(centre.entered().len(), 1, "the link stands");
    listener.reload(&server_tls(other.path()));
    std::fs::copy(new_key, key).unwrap();
    std::fs::copy(other.path().join("ca.pem"), keys.path().join("ca.pem")).unwrap();
    until("a link with the new ones", || centre.entered().len() == 2);
    agent.commit(1000);
    until("over the new link", || centre.taken() == [1, 2, 3]);
    agent.stop();
}

#[test]
fn an_agent_whose_address_changes_keeps_its_connection() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let relay = Relay::before(&centre.quic(keys.path()));
    let timeout = Duration::from_secs(20);
    let endpoints = [at(Scheme::Quic, relay.port)];
    let agent = Agent::start(folder.path(), Dial { timeout, ..dial(keys.path(), &endpoints) });
    agent.commit(100_000);
    until("from the first address", || centre.taken() == [1]);
    relay.moved.store(true, Ordering::Relaxed);
    agent.commit(100_000);
    until("from the second", || agent.shared.lock().buffer.acknowledged() == Sequence(2));
    assert_eq!((centre.taken(), centre.entered()), (numbers(2), vec![Scheme::Quic]));
    agent.stop();
}

#[test]
fn a_stream_in_the_clear_carries_both_ways() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = at(Scheme::Plain, listener.local_addr().unwrap().port());
    let echo = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        std::io::copy(&mut socket.try_clone().unwrap(), &mut socket).unwrap()
    });
    let (keys, settings) = (keys(), QuicSettings::default());
    let files = ClientFiles::load(keys.path().join("ca.pem"), None).unwrap();
    smol::block_on(async {
        let patience = Duration::from_secs(20);
        let dialled = Dialer::default().connect(&endpoint, files.tls(), &settings, patience).await;
        let Connection { mut reader, mut writer, monitor, .. } = dialled.unwrap();
        let written = writer.write_some(&"hello".into()).await.unwrap();
        let mut buffer = [0; 16];
        let len = reader.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], &b"hello"[..written.min(len)]);
        assert!(monitor.cost() > written as u64);
        writer.finish().await;
    });
    assert_eq!(echo.join().unwrap(), 5);
}

#[test]
fn the_first_batch_arrives_with_the_first_packets_and_their_repetition_has_no_effect() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let listener = centre.quic(keys.path());
    let relay = Relay::before(&listener);
    let endpoints = [at(Scheme::Quic, relay.port)];
    let mut dial = dial(keys.path(), &endpoints);
    dial.timeout = Duration::from_secs(5);
    dial.quic.idle_timeout = Duration::from_secs(4);
    dial.quic.keep_alive = Duration::from_millis(500);
    let agent = Agent::start(folder.path(), dial);
    agent.commit(1000);
    until("the first connection", || centre.taken() == [1]);
    until("its acknowledgement", || agent.shared.lock().buffer.acknowledged() == Sequence(1));

    // The agent hears nothing any more: what arrives over a new connection can only be early data.
    relay.mute.store(true, Ordering::Relaxed);
    centre.hang_up();
    relay.recorded.lock().unwrap().clear();
    agent.commit(1000);
    until("early data", || centre.taken() == [1, 2]);
    assert_eq!(agent.shared.lock().buffer.acknowledged(), Sequence(1), "nothing was heard");
    let recorded = relay.recorded.lock().unwrap().clone();
    relay.mute.store(false, Ordering::Relaxed);
    until("its acknowledgement", || agent.shared.lock().buffer.acknowledged() == Sequence(2));

    // Somebody on the way sends the same packets again.
    let (entered, messages) = (centre.entered().len(), centre.messages.load(Ordering::Relaxed));
    let somebody = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in &recorded {
        somebody.send_to(datagram, listener.local_address().unwrap()).unwrap();
    }
    agent.commit(1000);
    until("the link goes on", || centre.taken() == [1, 2, 3]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(centre.entered().len(), entered, "nobody came in");
    assert_eq!(centre.messages.load(Ordering::Relaxed), messages + 1, "nothing was read");
    agent.stop();
}

#[test]
fn a_started_agent_ships_its_backlog_to_whom_it_knows_without_an_answer() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let endpoints = [at(Scheme::Tls, centre.tls(keys.path()))];
    centre.speechless.store(true, Ordering::Relaxed);
    let agent = Agent::start(folder.path(), dial(keys.path(), &endpoints));
    agent.commit(1000);
    until("a stranger comes", || centre.entered().len() == 1);
    std::thread::sleep(Duration::from_millis(200));
    assert!(centre.taken().is_empty(), "it waits for an answer");
    centre.speechless.store(false, Ordering::Relaxed);
    centre.hang_up();
    until("it is answered", || agent.shared.lock().buffer.acknowledged() == Sequence(1));
    agent.stop();

    centre.speechless.store(true, Ordering::Relaxed);
    let agent = Agent::start(folder.path(), dial(keys.path(), &endpoints));
    agent.commit(1000);
    until("it comes again", || centre.entered().len() == 3);
    until("its backlog came with it, or right behind", || centre.taken() == [1, 2]);
    assert_eq!(agent.shared.lock().buffer.acknowledged(), Sequence(1));

    // To one that ends such a connection without a word it does not speak first the next time.
    centre.hang_up();
    until("it comes again", || centre.entered().len() == 4);
    agent.commit(1000);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(centre.taken(), [1, 2]);
    centre.speechless.store(false, Ordering::Relaxed);
    centre.hang_up();
    until("all of it", || agent.shared.lock().buffer.acknowledged() == Sequence(3));
    assert_eq!(centre.taken(), [1, 2, 3]);
    agent.stop();
}

/// A connection that nobody gives up for its silence.
fn enduring(keys: &Path, endpoints: &[EndpointAddress]) -> Dial {
    let mut dial = dial(keys, endpoints);
    dial.timeout = Duration::from_secs(5);
    dial.quic.idle_timeout = Duration::from_secs(600);
    dial
}

#[test]
fn a_link_whose_udp_is_blocked_goes_over_tcp_long_before_it_is_given_up() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let relay = Relay::before(&centre.quic_for(keys.path(), Duration::from_secs(600)));
    let endpoints = [at(Scheme::Quic, relay.port), at(Scheme::Tls, centre.tls(keys.path()))];
    let probe_every = Duration::from_millis(300);
    let dial = Dial { probe_every, ..enduring(keys.path(), &endpoints) };
    let agent = Agent::start(folder.path(), dial);
    agent.commit(1000);
    until("over QUIC", || agent.shared.lock().buffer.acknowledged() == Sequence(1));
    relay.blocked.store(true, Ordering::Relaxed);
    agent.commit(1000);
    until("over TCP", || agent.shared.lock().buffer.acknowledged() == Sequence(2));
    assert_eq!(centre.entered(), [Scheme::Quic, Scheme::Tls]);
    relay.blocked.store(false, Ordering::Relaxed);
    until("back on QUIC", || centre.entered().len() == 3);
    agent.commit(1000);
    until("all of it", || agent.shared.lock().buffer.acknowledged() == Sequence(3));
    assert_eq!(centre.entered(), [Scheme::Quic, Scheme::Tls, Scheme::Quic]);
    assert_eq!(centre.taken(), [1, 2, 3]);
    agent.stop();
}

#[test]
fn a_link_that_is_dead_altogether_for_a_while_stays_what_it_was() {
    let (keys, folder, centre) =
        (keys(), tempfile::tempdir().unwrap(), Arc::new(Centre::default()));
    let relay = Relay::before(&centre.quic_for(keys.path(), Duration::from_secs(600)));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let endpoints = [at(Scheme::Quic, relay.port), at(Scheme::Tls, port)];
    let agent = Agent::start(folder.path(), enduring(keys.path(), &endpoints));
    agent.commit(1000);
    until("over QUIC", || agent.shared.lock().buffer.acknowledged() == Sequence(1));
    relay.blocked.store(true, Ordering::Relaxed);
    agent.commit(1000);
    // Somebody is tried beside it, and does not answer either.
    let (tried, _) = nobody.accept().unwrap();
    drop((tried, nobody));
    relay.blocked.store(false, Ordering::Relaxed);
    until("over QUIC again", || agent.shared.lock().buffer.acknowledged() == Sequence(2));
    assert_eq!(centre.entered(), [Scheme::Quic], "the same connection");
    assert!(agent.status().endpoint.starts_with("quic://"));
    agent.stop();
}
