//! SHELL: WIRING of the centre: listener → desks → intake → log → sinks.
//!
//! ```text
//!   accept ─► task per connection (desk) ──inbound──► intake thread ──► log ──bell──► feed thread per sink
//!                         ▲                                │
//!                         └─────────── answers ────────────┘
//! ```

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use ring::rand::{SecureRandom, SystemRandom};
use smol::channel::{self, Receiver, Sender};
use smol::future;

use crate::batch::{Ack, Limits};
use crate::config::collector as config;
use crate::envelope::debezium;
use crate::mqtt::{Input, Reason, ServerSettings};
use crate::sink::file::Files;
use crate::sink::stdout::Stdout;
use crate::sink::{Sink, SinkError, file};
use crate::transport::{
    Connection, IdentityFiles, Incoming, Listener, QuicSettings, ServerTls, TransportError,
};

use super::desk::{Desk, Wish};
use super::feed::{Feed, Signals};
use super::intake::{Inbound, Intake, Taken};
use super::log::{Log, LogError, Reader, Retention, Settings};

/// The collector cannot start, or cannot go on.
#[derive(Debug)]
pub enum ServeError {
    /// The data directory cannot be used.
    Data(String),
    /// The listener or its certificates.
    Transport(TransportError),
    /// The log.
    Log(LogError),
    /// A sink that cannot even be opened.
    Sink(String, SinkError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(why) => f.write_str(why),
            Self::Transport(error) => write!(f, "{error}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Sink(name, error) => write!(f, "sink {name}: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<TransportError> for ServeError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<LogError> for ServeError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// A batch on its way from a connection to the intake.
struct Job {
    inbound: Inbound,
    token: u64,
    answers: Sender<Answer>,
}

/// What the intake and other connections tell a connection.
enum Answer {
    Done { token: u64, refused: bool },
    Ack(Ack),
    Dismiss(Reason),
}

/// Who is connected, and what each agent was told last.
#[derive(Default)]
struct Board {
    agents: HashMap<String, (u64, Sender<Answer>)>,
    acks: HashMap<String, Ack>,
}

/// What every connection needs.
#[derive(Clone)]
struct Hall {
    tenant: Arc<str>,
    session: ServerSettings,
    jobs: Sender<Job>,
    board: Arc<Mutex<Board>>,
    numbers: Arc<AtomicU64>,
}

impl Hall {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Batches that wait for the intake, over all connections.
const JOBS_MAX: usize = 64;
/// One append takes at most this many batches.
const GROUP_MAX: usize = 16;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// QoS 1 messages that an agent may have under way.
const RECEIVE_MAXIMUM: u16 = 64;

/// Runs until `stop` yields.
///
/// # Errors
/// Why it could not start. What happens later is logged and retried.
pub fn run(config: &config::Config, stop: &Receiver<&'static str>) -> Result<(), ServeError> {
    prepare(&config.data_dir)?;
    let intake = open(&config.journal.path)?;
    let (signals, mut threads, mut passed) = (Signals::default(), Vec::new(), Vec::new());
    for sink in &config.sinks {
        let feed = feed(sink, &config.journal.path)?;
        passed.push(Arc::clone(&feed.passed));
        let (signals, path) = (signals.clone(), config.journal.path.clone());
        threads.push(spawn(&format!("sink-{}", sink.name), move || feed.run(&path, &signals)));
    }
    let (jobs, waiting) = channel::bounded(JOBS_MAX);
    let board = Board { acks: intake.acks().into_iter().collect(), ..Board::default() };
    let hall = Hall {
        tenant: config.tenant.as_str().into(),
        session: ServerSettings {
            receive_maximum: RECEIVE_MAXIMUM,
            packet_bytes_max: u32::try_from(config.listen.packet_bytes_max).unwrap_or(u32::MAX),
            keep_alive_s_max: 60,
            patience: Duration::from_secs(30),
        },
        jobs,
        board: Arc::new(Mutex::new(board)),
        numbers: Arc::default(),
    };
    let keep = Keep {
        path: config.journal.path.clone(),
        passed,
        bytes_max: config.journal.bytes_max,
        age_s_max: config.journal.age_max.as_secs(),
    };
    let (shared, bell) = (Arc::clone(&hall.board), signals.clone());
    let writer = spawn("intake", move || take(intake, &waiting, &shared, &bell, &keep));
    let listener = listener(config)?;
    info!("listening on {} (QUIC)", listener.local_address().unwrap_or(config.listen.quic));
    smol::block_on(future::or(
        async {
            let signal = stop.recv().await.unwrap_or("the end of the input");
            info!("stopping: {signal}");
        },
        accept(&listener, &hall),
    ));
    let agents: Vec<_> = hall.board().agents.values().map(|(_, answers)| answers.clone()).collect();
    for answers in agents {
        let _ = answers.try_send(Answer::Dismiss(Reason::SHUTTING_DOWN));
    }
    smol::block_on(async {
        // The desks get a moment to say goodbye.
        smol::Timer::after(Duration::from_millis(50)).await;
        listener.close().await;
    });
    hall.jobs.close();
    join(writer);
    signals.stop.store(true, Ordering::Relaxed);
    signals.bell.ring();
    threads.into_iter().for_each(join);
    info!("stopped");
    Ok(())
}

fn open(path: &Path) -> Result<Intake, LogError> {
    Intake::open(Log::open(path, Settings::default())?, Limits::default())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.expect("the system has room for a handful of threads")
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the data directory, readable by its owner alone.
fn prepare(data_dir: &Path) -> Result<(), ServeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| {
        ServeError::Data(format!("the data directory {}: {error}", data_dir.display()))
    })
}

fn listener(config: &config::Config) -> Result<Listener, ServeError> {
    let listen = &config.listen;
    let identity = IdentityFiles { chain: &listen.certificate, key: &listen.key };
    let tls = ServerTls::load(&listen.ca, identity)?;
    let settings = QuicSettings { idle_timeout: listen.idle_timeout, ..QuicSettings::default() };
    let secret = secret(&config.data_dir.join("quic.secret")).map_err(|why| {
        ServeError::Data(format!("{}/quic.secret: {why}", config.data_dir.display()))
    })?;
    let connections = listen.connections_max as usize;
    Ok(Listener::bind(listen.quic, &tls, settings, &secret, connections)?)
}

/// The key by which agents notice at once that the collector was restarted; made at the first start.
fn secret(path: &Path) -> Result<[u8; 32], String> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| "it is not 32 bytes long; remove it".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            SystemRandom::new().fill(&mut secret).map_err(|_| "no randomness".to_owned())?;
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = made.and_then(|mut file| file.write_all(&secret));
            written.map_err(|error| error.to_string())?;
            Ok(secret)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn feed(sink: &config::Sink, log: &Path) -> Result<Feed, ServeError> {
    let name = sink.name.clone();
    let open: super::feed::Open = match &sink.kind {
        config::SinkKind::Stdout => {
            let name = name.clone();
            Box::new(move |reader: &Reader| {
                let cursor = reader.cursor(&name).map_err(|e| SinkError::Refused(e.to_string()))?;
                Ok(Box::new(Stdout::new(cursor)) as Box<dyn Sink>)
            })
        }
        config::SinkKind::File { directory, bytes_max } => {
            let settings = file::Settings {
                folder: directory.clone(),
                base: name.clone(),
                file_bytes_max: *bytes_max,
            };
            Box::new(
                move |_: &Reader| Ok(Box::new(Files::open(settings.clone())?) as Box<dyn Sink>),
            )
        }
    };
    // A sink that cannot be opened at all is a mistake to be told now, not an hour later.
    let opened = open(&Reader::open(log)?).map_err(|e| ServeError::Sink(name.clone(), e))?;
    let passed = Arc::new(AtomicU64::new(opened.cursor()));
    Ok(Feed {
        name,
        open,
        options: options(sink),
        limits: Limits::default(),
        cursor_in_log: matches!(sink.kind, config::SinkKind::Stdout),
        passed,
    })
}

fn options(sink: &config::Sink) -> debezium::Options {
    debezium::Options {
        decimal: match sink.decimal {
            config::Decimal::Precise => debezium::DecimalMode::Precise,
            config::Decimal::String => debezium::DecimalMode::Text,
            config::Decimal::Double => debezium::DecimalMode::Number,
        },
        bigint_unsigned: match sink.bigint_unsigned {
            config::BigintUnsigned::Number => debezium::BigintUnsigned::Number,
            config::BigintUnsigned::String => debezium::BigintUnsigned::Text,
        },
        zero_date: match sink.zero_date {
            config::ZeroDate::NullOrEpoch => debezium::ZeroDate::NullOrEpoch,
            config::ZeroDate::Null => debezium::ZeroDate::Null,
            config::ZeroDate::String => debezium::ZeroDate::Text,
        },
        unknown_text: match sink.unknown_text {
            config::UnknownText::Base64 => debezium::UnknownText::Base64,
            config::UnknownText::Utf8 => debezium::UnknownText::Utf8,
        },
    }
}

/// Takes newcomers in; each shakes hands in a task of its own.
async fn accept(listener: &Listener, hall: &Hall) {
    while let Some(incoming) = listener.accept().await {
        let hall = hall.clone();
        smol::spawn(async move { welcome(incoming, hall).await }).detach();
    }
}

async fn welcome(incoming: Incoming, hall: Hall) {
    let address = incoming.address();
    match incoming.establish(HANDSHAKE_MAX).await {
        Err(error) => warn!("{address} was not let in: {error}"),
        Ok(connection) => {
            let Some(agent) = connection.peer.name.clone() else { return };
            let words = converse(connection, &agent, &hall).await;
            info!("agent {agent} at {address}: {words}");
        }
    }
}

/// One connection, from its first byte to its last. Returns why it ended.
async fn converse(connection: Connection, agent: &str, hall: &Hall) -> String {
    let (answers, inbox) = channel::unbounded();
    let number = hall.numbers.fetch_add(1, Ordering::Relaxed);
    let address = connection.peer.address;
    let (mut reader, mut writer) = (connection.reader, connection.writer);
    let mut desk = Desk::new(hall.session, &hall.tenant, agent);
    let mut buffer = vec![0; 64 * 1024];
    let mut handled = desk.handle(Input::Opened, Instant::now());
    let words = loop {
        while let Some(bytes) = desk.poll() {
            if let Err(error) = writer.write(bytes).await {
                handled = Ok(());
                let _ = desk.handle(Input::Lost, Instant::now());
                info!("agent {agent}: {error}");
                break;
            }
        }
        if let Err(error) = handled {
            break error.to_string();
        }
        let mut over = None;
        while let Some(wish) = desk.wish() {
            match wish {
                Wish::Entered => {
                    info!("agent {agent} is connected from {address}");
                    enter(hall, agent, number, &answers);
                }
                Wish::Batch { token, message } => {
                    let inbound = Inbound { agent: agent.to_owned(), message };
                    let job = Job { inbound, token, answers: answers.clone() };
                    if hall.jobs.send(job).await.is_err() {
                        over = Some("the collector stops".to_owned());
                    }
                }
                Wish::WantsAck => {
                    let ack = hall.board().acks.get(agent).cloned();
                    let ack = ack.unwrap_or(Ack { version: 1, ..Ack::default() });
                    let _ = answers.try_send(Answer::Ack(ack));
                }
                Wish::Status(status) => {
                    let status = String::from_utf8_lossy(&status);
                    log::debug!("agent {agent}: {}", crate::telemetry::logger::tame(&status));
                }
                Wish::Over(words) => over = Some(words),
            }
        }
        if let Some(words) = over {
            break words;
        }
        if desk.is_over() {
            break "dismissed".to_owned();
        }
        handled = turn(&mut desk, &mut reader, &inbox, &mut buffer).await;
    };
    while let Some(bytes) = desk.poll() {
        let _ = writer.write(bytes).await;
    }
    leave(hall, agent, number);
    writer.finish().await;
    words
}

/// Waits for the next thing and hands it to the desk.
async fn turn(
    desk: &mut Desk,
    reader: &mut crate::transport::Reader,
    inbox: &Receiver<Answer>,
    buffer: &mut [u8],
) -> Result<(), crate::mqtt::SessionError> {
    enum Next {
        Read(Result<usize, TransportError>),
        Answer(Answer),
        Tick,
    }
    let wake_at = desk.wake_at();
    let read = async { Next::Read(reader.read(buffer).await) };
    let answer = async {
        match inbox.recv().await {
            Ok(answer) => Next::Answer(answer),
            Err(_) => std::future::pending().await,
        }
    };
    let tick = async {
        match wake_at {
            Some(at) => smol::Timer::at(at).await,
            None => std::future::pending().await,
        };
        Next::Tick
    };
    let next = future::or(answer, future::or(read, tick)).await;
    let now = Instant::now();
    match next {
        Next::Tick => desk.handle(Input::Tick, now),
        Next::Read(Ok(len)) if len > 0 => {
            desk.handle(Input::Bytes(buffer.get(..len).unwrap_or_default()), now)
        }
        Next::Read(_) => desk.handle(Input::Lost, now),
        Next::Answer(Answer::Done { token, refused }) => desk.done(token, refused, now),
        Next::Answer(Answer::Ack(ack)) => desk.tell(&ack, now),
        Next::Answer(Answer::Dismiss(reason)) => desk.dismiss(reason, now),
    }
}

/// The newest connection of an agent counts; an older one is told so.
fn enter(hall: &Hall, agent: &str, number: u64, answers: &Sender<Answer>) {
    let entry = (number, answers.clone());
    if let Some((_, older)) = hall.board().agents.insert(agent.to_owned(), entry) {
        let _ = older.try_send(Answer::Dismiss(Reason::TAKEN_OVER));
    }
}

fn leave(hall: &Hall, agent: &str, number: u64) {
    let mut board = hall.board();
    if board.agents.get(agent).is_some_and(|(own, _)| *own == number) {
        board.agents.remove(agent);
    }
}

/// What the log's retention goes by.
struct Keep {
    path: PathBuf,
    passed: Vec<Arc<AtomicU64>>,
    bytes_max: u64,
    age_s_max: u64,
}

impl Keep {
    fn retention(&self) -> Retention {
        let passed = self.passed.iter().map(|passed| passed.load(Ordering::Relaxed)).min();
        Retention {
            passed: passed.unwrap_or(0),
            bytes_max: self.bytes_max,
            age_s_max: self.age_s_max,
        }
    }
}

/// The intake's thread: groups batches, logs them, then answers.
fn take(
    mut intake: Intake,
    waiting: &Receiver<Job>,
    board: &Mutex<Board>,
    signals: &Signals,
    keep: &Keep,
) {
    let mut pruned = Instant::now();
    while let Some(jobs) = gather(waiting) {
        let (inbound, replies): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.inbound, (job.token, job.answers))).unzip();
        let taken = loop {
            match intake.take(&inbound, Instant::now()) {
                Ok(taken) => break taken,
                Err(error) => {
                    error!("nothing is taken in now: {error}; next try in {} s", RETRY.as_secs());
                }
            }
            // What the disk has must be looked at anew; the log can be open only once.
            drop(intake);
            intake = loop {
                if waiting.is_closed() {
                    return;
                }
                std::thread::sleep(RETRY);
                match open(&keep.path) {
                    Ok(intake) => break intake,
                    Err(error) => error!("the log cannot be opened: {error}"),
                }
            };
        };
        signals.bell.ring();
        answer(&inbound, replies, taken, board);
        if pruned.elapsed() > PRUNE_EVERY {
            pruned = Instant::now();
            if let Err(error) = intake.log().prune(keep.retention()) {
                warn!("the log cannot be pruned: {error}");
            }
        }
    }
}

/// The next group of batches: what waits, and nothing is waited for behind the first. While one group
/// is being synced the next one gathers by itself. `None` when the collector stops.
fn gather(waiting: &Receiver<Job>) -> Option<Vec<Job>> {
    let mut jobs = vec![waiting.recv_blocking().ok()?];
    while jobs.len() < GROUP_MAX
        && let Ok(job) = waiting.try_recv()
    {
        jobs.push(job);
    }
    Some(jobs)
}

fn answer(
    inbound: &[Inbound],
    replies: Vec<(u64, Sender<Answer>)>,
    taken: Taken,
    board: &Mutex<Board>,
) {
    for ((one, (token, answers)), refusal) in inbound.iter().zip(replies).zip(taken.refused) {
        if let Some(refusal) = &refusal {
            error!("agent {}: a message was refused: {refusal}", one.agent);
        }
        let _ = answers.try_send(Answer::Done { token, refused: refusal.is_some() });
    }
    let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
    for (agent, ack) in taken.acks {
        if let Some(demand) = ack.demand {
            warn!("agent {agent} is asked: {demand:?}, because {}", ack.why);
        }
        if let Some((_, answers)) = board.agents.get(&agent) {
            let _ = answers.try_send(Answer::Ack(ack.clone()));
        }
        board.acks.insert(agent, Ack { demand: None, why: String::new(), ..ack });
    }
}
