//! SHELL: WIRING of the edge: source → batch → buffer on one thread, buffer → uplink → link on another.
//!
//! ```text
//!   reader thread: source ─► batch ─► buffer ◄──── lock ────► pump ◄─► link: this thread
//!                                        └── staged: a ring ───┘
//! ```

mod bell;
pub mod known;
mod line;
mod link;
#[cfg(all(test, feature = "collector"))]
mod link_tests;
pub mod pump;
#[cfg(test)]
mod pump_tests;
mod purse;
mod reader;
mod regain;
mod reload;
mod road;
mod settings;
pub mod stager;

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use smol::channel;
use smol::future;

use crate::buffer::{Buffer, BufferError, Opening};
use crate::config::agent::{Config, Gaps, Source};
use crate::config::reload::Reload;
use crate::source::Stopper;
use crate::telemetry::counters::Counters;
use crate::telemetry::http::{self, HttpError, Told, Wanted};
use crate::telemetry::notify::{Notifier, Sign};
use crate::telemetry::signals::Requests;
use crate::telemetry::socket::{self, SocketError, StatusSocket};
use crate::telemetry::status::{self, Status};
use crate::telemetry::watch::Watch;
use crate::telemetry::{health, metrics};
use crate::transport::{self, TransportError};

use bell::Bell;
use link::End;
use pump::{Pump, Shared};

/// The agent cannot start, or ended before its time.
#[derive(Debug)]
pub enum AgentError {
    /// A file or folder that it needs.
    File(String),
    /// The buffer.
    Buffer(BufferError),
    /// Certificates.
    Transport(TransportError),
    /// The source's settings: its password, its certificates.
    Source(String),
    /// The status socket.
    Socket(SocketError),
    /// The pages for those who watch.
    Http(HttpError),
    /// Files that are not followed could not be read to their end.
    Unread(String),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) | Self::Source(why) | Self::Unread(why) => f.write_str(why),
            Self::Buffer(error) => write!(f, "{error}"),
            Self::Transport(error) => write!(f, "{error}"),
            Self::Socket(error) => write!(f, "{error}"),
            Self::Http(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for AgentError {}

/// What an operator wants while it runs.
pub struct Operator {
    /// When.
    pub requests: Requests,
    /// The configuration, which can be read again.
    pub reload: Reload<Config>,
}

/// Runs until it is asked to stop; with files that are not followed, until all of them is delivered.
///
/// # Errors
/// Why it could not start, or what of the files could not be read.
pub fn run(config: &Config, operator: Operator) -> Result<(), AgentError> {
    prepare(&config.state_dir)?;
    let (shared, counters) = (open(config)?, Arc::new(Counters::new(Instant::now())));
    counters.buffer_bytes_max.set(config.buffer.bytes_max);
    counters.pid.set(std::process::id().into());
    let dial = settings::dial(config).map_err(AgentError::Transport)?;
    let source = settings::source(config).map_err(AgentError::Source)?;
    let socket = config.state_dir.join(socket::FILE_NAME);
    let look = Look {
        counters: Arc::clone(&counters),
        shared: shared.clone(),
        name: config.agent.clone(),
    };
    let (asked, watched) = (look.clone(), look.clone());
    let socket =
        StatusSocket::open(&socket, move || asked.briefly()).map_err(AgentError::Socket)?;
    let watch = Watch::open(&config.telemetry, move |wanted| tell(wanted, &watched.briefly()));
    let mut watch = watch.map_err(AgentError::Http)?;
    let staged = Arc::new(Bell::default());
    let (idle, behind) = (Arc::default(), Arc::default());
    let (finished, stopper) = (Arc::default(), Stopper::default());
    let reading = reader::Ties {
        shared: shared.clone(),
        counters: Arc::clone(&counters),
        staged: Arc::clone(&staged),
        link_idle: Arc::clone(&idle),
        link_behind: Arc::clone(&behind),
        stop: stopper.clone(),
        finished: Arc::clone(&finished),
        accepts_gaps: config.buffer.on_gap == Gaps::SkipAndReport,
    };
    let (cut, followed) = (settings::cut(config), followed(config));
    let thread = std::thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || reader::run(&source, cut, &reading, followed))
        .map_err(|error| AgentError::File(format!("the reader thread: {error}")))?;
    let agent = config.agent.clone();
    let (Operator { requests, mut reload }, (allow, budget)) = (operator, channel::unbounded());
    let stop = requests.stop;
    let ties = link::Ties { counters, agent, staged, idle, behind, stop, budget, finished };
    let mut pump = Pump::new(settings::pump(config), shared.clone());
    let systemd = Notifier::from_env();
    // Not smol's `block_on`: beside one, async-io's thread wakes ten times after whatever happened, to see
    // whether it is needed.
    let end = future::block_on(future::or(
        link::run(&mut pump, dial, shared.clone(), &ties),
        // On the link's thread and behind the buffer's lock: a sign that both are free. A write that never comes
        // back holds both, whoever asks.
        future::or(async { match systemd.attend(|| sign(&look.now())).await {} }, async {
            match reload.follow(&requests.reload, &mut reload::live(&mut watch, &allow)).await {}
        }),
    ));
    systemd.stopping();
    if let End::Stopped(signal) = end {
        info!("stopping: {signal}");
    }
    stopper.stop();
    let read = match thread.join() {
        Ok(read) => read,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    drop((pump, socket, watch, look));
    close(shared)?;
    info!("stopped");
    read.map_err(AgentError::Unread)
}

fn open(config: &Config) -> Result<Shared, AgentError> {
    let boot_id = boot_id().map_err(AgentError::File)?;
    let settings = settings::buffer(config, boot_id);
    let (buffer, opening) =
        Buffer::open(&config.buffer.path, settings).map_err(AgentError::Buffer)?;
    let (epoch, path) = (buffer.epoch(), config.buffer.path.display());
    match opening {
        Opening::Created => info!("buffer: {path} is new, epoch {epoch}"),
        Opening::Continued => info!("buffer: goes on in epoch {epoch} behind {}", buffer.staged()),
        Opening::NewEpoch { why } => warn!("buffer: epoch {epoch} begins: {why}"),
    }
    Ok(Shared::new(buffer))
}

fn close(shared: Shared) -> Result<(), AgentError> {
    match shared.into_inner() {
        Some(buffer) => buffer.close().map_err(AgentError::Buffer),
        // Somebody still looks at it; it is as whole as after a kill.
        None => Ok(()),
    }
}

fn holds(buffer: &Buffer) -> Result<status::Buffer, BufferError> {
    let usage = buffer.usage()?;
    Ok(status::Buffer {
        epoch: buffer.epoch(),
        staged: buffer.staged().0,
        acknowledged: buffer.acknowledged().0,
        batches: usage.batches,
        rows: usage.rows,
        prepared: buffer.prepared_count()?,
        bytes: usage.bytes,
        ..status::Buffer::default()
    })
}

/// Looks at the agent.
#[derive(Clone)]
struct Look {
    counters: Arc<Counters>,
    shared: Shared,
    name: String,
}

impl Look {
    /// This moment, as soon as the buffer is free.
    fn now(&self) -> Status {
        self.note(&self.shared.lock().buffer);
        self.counters.status(&self.name, Instant::now())
    }

    /// This moment. A disk that hangs holds the buffer: then what it holds is told as it was before.
    fn briefly(&self) -> Status {
        let until = Instant::now() + BRIEFLY;
        loop {
            if let Some(inner) = self.shared.try_lock() {
                self.note(&inner.buffer);
                break;
            }
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(BRIEFLY / 50);
        }
        self.counters.status(&self.name, Instant::now())
    }

    fn note(&self, buffer: &Buffer) {
        if let Ok(holds) = holds(buffer) {
            self.counters.buffer_is(holds, Instant::now());
        }
    }
}

/// A page for those who watch.
fn tell(wanted: Wanted, status: &Status) -> Told {
    match wanted {
        Wanted::Health => http::health(&status.reasons),
        Wanted::Metrics => Told { well: true, text: metrics::page(status) },
        Wanted::Status => {
            let json = serde_json::to_vec(status).expect("a status always serializes");
            let json = String::from_utf8(json).expect("JSON is UTF-8");
            Told { well: true, text: json + "\n" }
        }
    }
}

/// How long those who watch wait for the buffer.
const BRIEFLY: Duration = Duration::from_millis(500);

fn sign(status: &Status) -> Sign {
    Sign { words: status.line(), alive: !health::hangs(status) }
}

/// What the buffer of an agent that does not run tells of it.
///
/// # Errors
/// There is no buffer, or it cannot be read.
pub fn glance(buffer: &Path) -> Result<Status, AgentError> {
    let glance = Buffer::peek(buffer).map_err(AgentError::Buffer)?;
    let mut status = Status {
        agent: "(not running)".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reasons: vec!["no agent runs; this is what its buffer tells".to_owned()],
        ..Status::default()
    };
    if let Some(checkpoint) = glance.checkpoint {
        status.source.position = checkpoint.position.to_string();
    }
    status.buffer = status::Buffer {
        epoch: glance.epoch,
        staged: glance.staged.0,
        acknowledged: glance.acknowledged.0,
        batches: glance.usage.batches,
        rows: glance.usage.rows,
        prepared: glance.prepared,
        bytes: glance.usage.bytes,
        ..status::Buffer::default()
    };
    Ok(status)
}

/// Whether the agent's certificate carries the agent's name, by which the collector knows it.
///
/// # Errors
/// It carries another. A certificate that cannot be read is not judged here.
pub fn check_name(config: &Config) -> Result<(), String> {
    let path = &config.uplink.certificate;
    let carries = match transport::name_in(path) {
        Err(_) => return Ok(()),
        Ok(Some(name)) if name == config.agent => return Ok(()),
        Ok(Some(name)) => format!("for the agent `{name}`"),
        Ok(None) => "for no agent, or for more than one name".to_owned(),
    };
    Err(format!("{}: is {carries}, and `agent` is `{}`", path.display(), config.agent))
}

/// Makes the state directory, readable by its owner alone.
fn prepare(state_dir: &Path) -> Result<(), AgentError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(|error| {
        AgentError::File(format!("the state directory {}: {error}", state_dir.display()))
    })
}

/// Which start of the machine this is.
fn boot_id() -> Result<String, String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    Ok(id.trim().to_owned())
}

fn followed(config: &Config) -> bool {
    match &config.source {
        Source::Live(_) => true,
        Source::Files(files) => files.follow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Durability, Settings};

    #[test]
    fn those_who_watch_are_answered_while_a_disk_holds_the_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            bytes_max: 64 << 20,
            durability: Durability::Normal,
            boot_id: "boot".to_owned(),
        };
        let (buffer, _) = Buffer::open(&folder.path().join("b"), settings).unwrap();
        let counters = Arc::new(Counters::new(Instant::now()));
        let look = Look { counters, shared: Shared::new(buffer), name: "edge-1".to_owned() };
        let epoch = look.now().buffer.epoch;
        assert!(epoch > 0);
        let held = look.shared.lock();
        let answered = std::thread::scope(|scope| scope.spawn(|| look.briefly()).join().unwrap());
        drop(held);
        assert_eq!((answered.agent.as_str(), answered.buffer.epoch), ("edge-1", epoch));
        let health = tell(Wanted::Health, &Status { reasons: vec!["x".into()], ..answered });
        assert_eq!((health.well, health.text.contains("\"reasons\":[\"x\"]")), (false, true));
    }
}
