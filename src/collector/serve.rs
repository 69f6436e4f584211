//! SHELL: WIRING of the centre: doors → conversations → intake → log → sinks.
//!
//! ```text
//!   doors ─► task per connection (conversation, desk) ──hall──► intake thread (writer) ──► log
//!                         ▲                                         │                       │ bell
//!                         └──────────────── answers ────────────────┘            feed thread per sink
//! ```

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{info, warn};
use smol::future;

use crate::batch::Limits;
use crate::config::collector as config;
use crate::config::reload::Reload;
use crate::envelope::debezium;
use crate::mqtt::ServerSettings;
use crate::sink::file::Files;
use crate::sink::stdout::Stdout;
use crate::sink::{Sink, SinkError, file};
use crate::telemetry::http::{self, HttpError, Told, Wanted};
use crate::telemetry::notify::{Notifier, Sign};
use crate::telemetry::signals::Requests;
use crate::telemetry::watch::Watch;
use crate::transport::TransportError;

use super::broker::{self, Broker};
use super::doors::{self, Doors};
use super::elsewhere::Elsewhere;
use super::feed::{Feed, Signals};
use super::figures::Pulse;
use super::hall::{self, Hall};
use super::log::{Log, LogError, Reader};
use super::reload::{self, Retained};
use super::state::{self, SinkState, State};
use super::writer::{self, Keep};

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
    /// The pages for those who watch.
    Http(HttpError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(why) => f.write_str(why),
            Self::Transport(error) => write!(f, "{error}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Sink(name, error) => write!(f, "sink {name}: {error}"),
            Self::Http(error) => write!(f, "{error}"),
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

/// QoS 1 messages that an agent may have under way.
const RECEIVE_MAXIMUM: u16 = 64;

/// What an operator wants while it runs.
pub struct Operator {
    /// When.
    pub requests: Requests,
    /// The configuration, which can be read again.
    pub reload: Reload<config::Config>,
}

/// Runs until it is asked to stop.
///
/// # Errors
/// Why it could not start. What happens later is logged and retried.
pub fn run(config: &config::Config, operator: Operator) -> Result<(), ServeError> {
    let Operator { requests, mut reload } = operator;
    let started = Instant::now();
    prepare(&config.data_dir)?;
    let (listen, broker) = (config.listen.as_ref(), config.broker.as_ref());
    // Where agents come both ways, the larger limit holds.
    let larger = |direct: Option<u64>, through: Option<u64>| direct.max(through).unwrap_or(0);
    let batch_bytes_max =
        larger(listen.map(|it| it.batch_bytes_max), broker.map(|it| it.batch_bytes_max));
    let batch_limits = Limits {
        plain_bytes_max: u32::try_from(batch_bytes_max).unwrap_or(u32::MAX),
        ..Limits::default()
    };
    let elsewhere = Elsewhere::default();
    let mut intake = writer::open(&config.journal.path, batch_limits, &elsewhere)?;
    let (signals, mut threads, mut passed) = (Signals::default(), Vec::new(), Vec::new());
    let mut sinks = Vec::new();
    let feeds = config.sinks.iter().map(|sink| feed(sink, &config.journal.path));
    let feeds = feeds.collect::<Result<Vec<_>, _>>()?;
    for feed in &feeds {
        begin_behind(intake.log(), feed)?;
    }
    for feed in feeds {
        passed.push(Arc::clone(&feed.passed));
        let (name, pulse) = (feed.name.clone(), Arc::clone(&feed.pulse));
        sinks.push(Fed { name, passed: Arc::clone(&feed.passed), pulse });
        let (signals, path) = (signals.clone(), config.journal.path.clone());
        threads.push(spawn(&format!("sink-{}", feed.name), move || feed.run(&path, &signals)));
    }
    let packet_bytes_max =
        larger(listen.map(|it| it.packet_bytes_max), broker.map(|it| it.packet_bytes_max));
    let memory_bytes_max =
        larger(listen.map(|it| it.memory_bytes_max), broker.map(|it| it.memory_bytes_max));
    let session = ServerSettings {
        receive_maximum: RECEIVE_MAXIMUM,
        packet_bytes_max: u32::try_from(packet_bytes_max).unwrap_or(u32::MAX),
        keep_alive_s_max: 60,
        patience: Duration::from_secs(30),
    };
    let in_bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    let limits = hall::Limits {
        agents_max: listen.map_or(0, |listen| listen.connections_max as usize),
        agent_bytes_max: in_bytes(packet_bytes_max),
        memory_bytes_max: in_bytes(memory_bytes_max),
    };
    let hall = Hall::new(&config.tenant, session, limits, intake.acks());
    if let Some(listen) = listen {
        hall.deny(doors::denied(listen)?);
    }
    let retained = Arc::new(Retained::default());
    retained.change(&config.journal);
    let pulse = |what, patient| Arc::new(Pulse::new(what, patient, started));
    let (taking, connected) = (pulse("journal", false), pulse("broker", true));
    let look = Look {
        started,
        hall: hall.clone(),
        sinks,
        others: [Some(&taking), broker.map(|_| &connected)]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        retained: Arc::clone(&retained),
    };
    let watched = look.clone();
    let watch = Watch::open(&config.telemetry, move |wanted| watched.tell(wanted));
    let mut watch = watch.map_err(ServeError::Http)?;
    let keep = Keep {
        path: config.journal.path.clone(),
        batches: batch_limits,
        elsewhere: elsewhere.clone(),
        passed,
        retained: Arc::clone(&retained),
        pulse: taking,
    };
    let (shared, bell) = (hall.clone(), signals.clone());
    let writer = spawn("intake", move || writer::run(intake, &shared, &bell, &keep));
    let open = |listen| Doors::open(listen, &config.data_dir);
    let doors = listen.map(open).transpose()?;
    let broker = broker.map(|config| Broker { config, hall: &hall, elsewhere, pulse: &connected });
    let systemd = Notifier::from_env();
    let told = async { match systemd.attend(|| look.sign()).await {} };
    let changed = async {
        match reload.follow(&requests.reload, &mut reload::live(&mut watch, &retained)).await {}
    };
    smol::block_on(future::or(
        async {
            let signal = requests.stop.recv().await.unwrap_or("the end of the input");
            info!("stopping: {signal}");
        },
        async {
            let direct = async {
                match &doors {
                    Some(doors) => doors.accept(&hall).await,
                    None => std::future::pending().await,
                }
            };
            let through = async {
                match &broker {
                    Some(broker) => broker::serve(broker).await,
                    None => std::future::pending().await,
                }
            };
            future::or(future::or(direct, through), future::or(told, changed)).await;
        },
    ));
    systemd.stopping();
    hall.dismiss_all();
    smol::block_on(async {
        // The desks get a moment to say goodbye.
        smol::Timer::after(Duration::from_millis(50)).await;
        if let Some(doors) = &doors {
            doors.close().await;
        }
    });
    hall.line.close();
    join(writer);
    signals.stop.store(true, Ordering::Relaxed);
    signals.bell.ring();
    threads.into_iter().for_each(join);
    info!("stopped");
    Ok(())
}

/// Looks at the collector.
#[derive(Clone)]
struct Look {
    started: Instant,
    hall: Hall,
    sinks: Vec<Fed>,
    others: Vec<Arc<Pulse>>,
    retained: Arc<Retained>,
}

/// What is seen of a sink.
#[derive(Clone)]
struct Fed {
    name: String,
    passed: Arc<AtomicU64>,
    pulse: Arc<Pulse>,
}

impl Look {
    fn reasons(&self, now: Instant) -> Vec<String> {
        let sinks = self.sinks.iter().map(|sink| &sink.pulse);
        sinks.chain(&self.others).filter_map(|pulse| pulse.reason(now)).collect()
    }

    /// The doors' thread turns, and the board is free. A sink waits for whoever reads it, and may do so for ever.
    fn sign(&self) -> Sign {
        let now = Instant::now();
        let agents = format!("agents that are in: {}", self.hall.agents(now));
        let reasons = self.reasons(now).join("; ");
        let words = match reasons.is_empty() {
            true => agents,
            false => format!("NOT HEALTHY: {reasons} ({agents})"),
        };
        Sign { words, alive: !self.others.iter().any(|part| part.hangs(now)) }
    }

    /// A page for those who watch.
    fn tell(&self, wanted: Wanted) -> Told {
        let well = |text| Told { well: true, text };
        match wanted {
            Wanted::Health => http::health(&self.reasons(Instant::now())),
            Wanted::Metrics => well(state::page(&self.state())),
            Wanted::Status => {
                let json = serde_json::to_string_pretty(&self.state());
                well(json.expect("a state has nothing that JSON cannot hold") + "\n")
            }
        }
    }

    fn state(&self) -> State {
        let now = Instant::now();
        let (reasons, uptime) = (self.reasons(now), now.saturating_duration_since(self.started));
        let journal = self.hall.figures.journal();
        let sink = |sink: &Fed| {
            let entry = sink.passed.load(Ordering::Relaxed);
            SinkState {
                name: sink.name.clone(),
                entry,
                behind: journal.last.saturating_sub(entry),
                healthy: sink.pulse.reason(now).is_none(),
            }
        };
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            healthy: reasons.is_empty(),
            reasons,
            journal,
            journal_bytes_max: self.retained.bytes_max.load(Ordering::Relaxed),
            waiting_batches: self.hall.line.len() as u64,
            memory_bytes: self.hall.memory.held() as u64,
            memory_bytes_max: self.hall.limits.memory_bytes_max as u64,
            refused: self.hall.figures.refused(),
            sinks: self.sinks.iter().map(sink).collect(),
            agents: self.hall.known(now),
        }
    }
}

/// A sink that has seen more than the log has: the log is an older copy. What was lost comes again under
/// other numbers.
fn begin_behind(log: &mut Log, feed: &Feed) -> Result<(), LogError> {
    let (last, stands) = (log.last(), feed.passed.load(Ordering::Relaxed));
    let void = log.begin_behind(stands)?;
    if void > 0 {
        warn!(
            "the log ends at entry {last}, and sink {} has seen entry {stands}: the log is an older copy. \
             What it lost is asked of the agents again; entries go on behind {stands}",
            feed.name
        );
    }
    Ok(())
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
        pulse: Arc::new(Pulse::new(&format!("sink {}", sink.name), false, Instant::now())),
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
