//! A collector, and agents that are no more than their sessions: real certificates, real QUIC or TLS, the
//! project's own client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rivulet::batch::{
    self, Ack, Begin, Builder, Channel, Commit, Follows, Identity, Message, Sealed, Settings, Topic,
};
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::{Column, Kind, Table};
use rivulet::collector::pki;
use rivulet::mqtt::{Client, ClientEvent, ClientSettings, Filter, Input, Output, QoS, Reason};
use rivulet::position::{Position, Sequence};
use rivulet::transport::{
    ClientTls, Connection, Dialer, EndpointAddress, IdentityFiles, QuicSettings, Reader, Scheme,
    TransportError, Writer,
};

use super::process::{COLLECTOR, Process, wait_until};
use super::server::free_port;

/// How long a step of a session may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A collector with its keys. Dropping it ends it and removes everything.
pub struct Centre {
    folder: tempfile::TempDir,
    process: Option<Process>,
    pub port: u16,
}

impl Centre {
    /// Makes keys and the configuration, with these lines in `[listen]`, and starts it.
    pub fn start(listen: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rivulet-exam-").tempdir();
        let port = free_port();
        let centre = Self { folder: folder.expect("a temporary folder"), process: None, port };
        centre.renew_authority();
        let at = centre.folder.path().display();
        let config = format!(
            "data_dir = \"{at}/data\"\n[listen]\nquic = \"127.0.0.1:{port}\"\n\
             tls = \"127.0.0.1:{port}\"\nca = \"{at}/ca.pem\"\ncertificate = \"{at}/collector.pem\"\n\
             key = \"{at}/collector.key\"\n{listen}"
        );
        fs::write(centre.path("collector.toml"), config).expect("a writable folder");
        let mut centre = centre;
        centre.start_again();
        centre
    }

    /// A new CA, and a collector's certificate of it; agents of the former one are strangers then.
    pub fn renew_authority(&self) {
        let (folder, new) = (self.folder.path(), self.path("new"));
        let _ = fs::remove_dir_all(&new);
        let _ = fs::remove_dir_all(self.path("agents"));
        pki::init(&new, pki::CA_DAYS).expect("a CA");
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        pki::collector(&new, &hosts, pki::LEAF_DAYS).expect("a certificate");
        for file in ["ca.pem", "ca.key", "collector.pem", "collector.key"] {
            fs::rename(new.join(file), folder.join(file)).expect("both are ours");
        }
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        let config = self.path("collector.toml");
        let arguments = ["serve", "--config", config.to_str().expect("a UTF-8 path")];
        let before = self.log().matches("(TLS)").count();
        self.process = Some(Process::start(COLLECTOR, &arguments, &self.path("log")));
        wait_until("the collector to listen", PATIENCE, || {
            self.process().must_run();
            self.log().matches("(TLS)").count() > before
        });
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        let text = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Resident memory in MiB: now, and at its highest.
    pub fn memory_mib(&mut self) -> (u64, u64) {
        let (now, most) = self.process().memory_kib().expect("it runs");
        (now / 1024, most / 1024)
    }

    /// An agent's keys, made when they are first asked for.
    pub fn keys(&self, name: &str) -> ClientTls {
        self.keys_of(self, name)
    }

    /// Keys of another's authority, which nevertheless believe this collector.
    pub fn keys_of(&self, other: &Self, name: &str) -> ClientTls {
        let path = |end: &str| other.path("agents").join(format!("{name}.{end}"));
        let (chain, key) = (path("pem"), path("key"));
        if !chain.exists() {
            pki::agent(other.folder.path(), name, pki::LEAF_DAYS).expect("a certificate");
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let identity = IdentityFiles { chain: &chain, key: &key };
        ClientTls::load(&self.path("ca.pem"), Some(identity)).expect("they were just made")
    }

    /// Where to call.
    pub fn endpoint(&self, scheme: Scheme) -> EndpointAddress {
        let host = "127.0.0.1".to_owned();
        EndpointAddress { scheme, host, port: self.port, server_name: Some("localhost".to_owned()) }
    }

    /// A connection with these keys on which nothing was said yet.
    pub async fn dial(
        &self,
        keys: &ClientTls,
        scheme: Scheme,
    ) -> Result<Connection, TransportError> {
        dial(&mut Dialer::default(), &self.endpoint(scheme), keys).await
    }

    /// An agent that is in and knows where the collector stands.
    pub async fn enter(&self, name: &str, scheme: Scheme) -> Result<Caller, String> {
        let connection = self.dial(&self.keys(name), scheme).await;
        Caller::enter(connection.map_err(|error| error.to_string())?, name).await
    }
}

pub async fn dial(
    dialer: &mut Dialer,
    endpoint: &EndpointAddress,
    keys: &ClientTls,
) -> Result<Connection, TransportError> {
    // A machine that does much else is silent for long.
    let settings = QuicSettings { idle_timeout: PATIENCE, ..QuicSettings::default() };
    dialer.connect(endpoint, keys, &settings, PATIENCE).await
}

/// An agent's channel, as a topic.
pub fn topic(agent: &str, channel: Channel) -> String {
    Topic { tenant: "default", agent, channel }.to_string()
}

/// What a client says of itself.
pub fn settings(client_id: &str) -> ClientSettings {
    ClientSettings {
        client_id: client_id.to_owned(),
        keep_alive_s: 30,
        session_expiry_s: 0,
        clean_start: true,
        will: None,
        login: None,
        receive_maximum: 8,
        packet_bytes_max: 1 << 20,
        patience: PATIENCE,
    }
}

/// A batch of one row; `number` decides where in the binlog it stands.
pub fn batch(number: u64) -> Sealed {
    let columns = [Kind::Long, Kind::Varchar].map(|kind| Column { kind, ..Column::default() });
    let table = Arc::new(Table { columns: columns.to_vec(), ..Table::default() });
    let mut builder = Builder::new(Settings { level: 1 });
    let offset = 1000 * (number + 1);
    let position = Position { file: "b.000001".to_owned(), offset, ..Position::default() };
    builder.begin(&Begin { position, timestamp_s: 1, ..Begin::default() });
    builder.event(&table, Operation::Insert, offset + 10, 0);
    builder.row(&[], &[Cell::Value(&7u32.to_le_bytes()), Cell::Value(b"text")]);
    builder.commit(Commit { end_offset: offset + 100, xid: None });
    builder.seal(|_| false).expect("a batch").expect("not empty")
}

/// An agent's session.
pub struct Caller {
    pub name: String,
    pub session: Client,
    pub reader: Reader,
    pub writer: Writer,
    /// What it was told last.
    pub ack: Ack,
    epoch: u64,
    sequence: u64,
    crc: u32,
    buffer: Vec<u8>,
}

impl Caller {
    /// Logs in under the connection's name.
    pub async fn enter(connection: Connection, name: &str) -> Result<Self, String> {
        let mut caller = Self::greet(connection, settings(name));
        match caller.event().await? {
            ClientEvent::Accepted { .. } => {}
            ClientEvent::Refused { reason } => return Err(reason.to_string()),
            other => return Err(format!("{other:?}")),
        }
        let path = topic(name, Channel::Ack);
        let results = caller.subscribe(&path).await?;
        assert_eq!(results, [Ok(QoS::AtLeastOnce)]);
        match caller.event().await? {
            ClientEvent::Message { topic, retain: true, .. } if topic == path => {}
            other => return Err(format!("{other:?} instead of the retained ack")),
        }
        caller.epoch = caller.ack.epoch + 1;
        Ok(caller)
    }

    /// Says CONNECT and waits for nothing.
    pub fn greet(connection: Connection, settings: ClientSettings) -> Self {
        let name = settings.client_id.clone();
        let mut session = Client::new(settings);
        session.handle(Input::Opened, Instant::now()).expect("it was offline");
        let Connection { reader, writer, .. } = connection;
        let (ack, buffer) = (Ack::default(), vec![0; 4096]);
        Self { name, session, reader, writer, ack, epoch: 1, sequence: 0, crc: 0, buffer }
    }

    /// The next event; what has to be written before is written. An error says why it is over.
    pub async fn event(&mut self) -> Result<ClientEvent, String> {
        self.event_within(PATIENCE).await
    }

    /// The same with another patience.
    pub async fn event_within(&mut self, patience: Duration) -> Result<ClientEvent, String> {
        let started = Instant::now();
        loop {
            match self.session.poll() {
                Some(Output::Write(bytes)) => {
                    self.writer.write(bytes).await.map_err(|error| error.to_string())?;
                    continue;
                }
                Some(Output::Event(ClientEvent::Closed { reason })) => {
                    return Err(reason.to_string());
                }
                Some(Output::Event(event)) => {
                    if let ClientEvent::Message { payload, .. } = &event
                        && let Ok(ack) = Ack::decode(payload)
                    {
                        self.ack = ack;
                    }
                    return Ok(event);
                }
                None => {}
            }
            if started.elapsed() > patience {
                return Err("nothing happens".to_owned());
            }
            self.wait().await?;
        }
    }

    /// Waits for bytes or the time of something that is due.
    async fn wait(&mut self) -> Result<(), String> {
        let wake_at = self.session.wake_at().unwrap_or(Instant::now() + PATIENCE);
        let (reader, buffer) = (&mut self.reader, &mut self.buffer);
        let read = async { Some(reader.read(buffer).await) };
        let tick = async {
            smol::Timer::at(wake_at).await;
            None
        };
        let now = Instant::now;
        let handled = match smol::future::or(read, tick).await {
            Some(Ok(0)) => return Err("the stream ended".to_owned()),
            Some(Ok(len)) => self.session.handle(Input::Bytes(&self.buffer[..len]), now()),
            Some(Err(error)) => return Err(error.to_string()),
            None => self.session.handle(Input::Tick, now()),
        };
        handled.map_err(|error| error.to_string())
    }

    /// Asks for a subscription; what was granted.
    pub async fn subscribe(&mut self, path: &str) -> Result<Vec<Result<QoS, Reason>>, String> {
        let filter = Filter { path: path.to_owned(), qos: QoS::AtLeastOnce };
        let asked = self.session.subscribe(&[filter], 1, Instant::now());
        asked.map_err(|error| error.to_string())?;
        loop {
            if let ClientEvent::Subscribed { results, .. } = self.event().await? {
                return Ok(results);
            }
        }
    }

    /// Publishes with QoS 1; `Err` inside is the refusal.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
    ) -> Result<Result<(), Reason>, String> {
        let now = Instant::now();
        let asked = self.session.publish(topic, payload, QoS::AtLeastOnce, false, 9, now);
        asked.map_err(|error| error.to_string())?;
        loop {
            match self.event().await? {
                ClientEvent::Acknowledged { .. } => return Ok(Ok(())),
                ClientEvent::Rejected { reason, .. } => return Ok(Err(reason)),
                _ => {}
            }
        }
    }

    /// The next batch of this agent, as a message.
    pub fn next_message(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let sealed = batch(self.epoch * 1_000_000 + self.sequence);
        let (epoch, previous_crc) = (self.epoch, self.crc);
        let sequence = Sequence(self.sequence);
        let follows = (sequence == Sequence(1)).then(Follows::default);
        let agent = self.name.clone();
        let identity = Identity { agent, epoch, sequence, previous_crc, follows };
        let message = batch::frame(&identity, &sealed.meta, &sealed.body);
        self.crc = Message::parse(&message).expect("just made").crc;
        message
    }

    /// Sends a batch and waits until the collector says that it is durable.
    pub async fn deliver(&mut self) -> Result<(), String> {
        let (message, topic) = (self.next_message(), topic(&self.name, Channel::Data));
        let now = Instant::now();
        let asked = self.session.publish(&topic, message, QoS::AtLeastOnce, false, 0, now);
        asked.map_err(|error| error.to_string())?;
        let wanted = (self.epoch, Sequence(self.sequence));
        while (self.ack.epoch, self.ack.sequence) < wanted {
            if let ClientEvent::Rejected { reason, .. } = self.event().await? {
                return Err(format!("refused: {reason}"));
            }
            if let Some(demand) = self.ack.demand {
                return Err(format!("{demand:?} is wanted: {}", self.ack.why));
            }
        }
        Ok(())
    }
}

/// An agent that delivers one batch after the other on one connection, in a thread of its own.
pub struct Honest {
    delivered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Duration, String>>>,
}

impl Honest {
    pub fn start(centre: &Centre, name: &str, scheme: Scheme) -> Self {
        let (keys, endpoint) = (centre.keys(name), centre.endpoint(scheme));
        let (delivered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, over, name) = (delivered.clone(), stop.clone(), name.to_owned());
        let run = async move {
            let connection = dial(&mut Dialer::default(), &endpoint, &keys).await;
            let connection = connection.map_err(|error| error.to_string())?;
            let mut caller = Caller::enter(connection, &name).await?;
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                caller.deliver().await?;
                longest = longest.max(began.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                smol::Timer::after(Duration::from_millis(5)).await;
            }
            Ok(longest)
        };
        Self { delivered, stop, thread: Some(thread::spawn(|| smol::block_on(run))) }
    }

    /// Waits until it has delivered some more, on the same connection.
    pub fn must_go_on(&mut self) {
        let before = self.delivered.load(Ordering::Relaxed);
        wait_until("an honest agent to deliver", PATIENCE, || {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                panic!(
                    "an honest agent was disturbed: {:?}",
                    self.thread.take().map(JoinHandle::join)
                );
            }
            self.delivered.load(Ordering::Relaxed) >= before + 3
        });
    }

    /// Ends it: how many batches it has delivered, and how long the slowest took.
    pub fn end(mut self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is ended once");
        let longest = thread.join().expect("it does not panic").expect("it was not disturbed");
        (self.delivered.load(Ordering::Relaxed), longest)
    }
}
