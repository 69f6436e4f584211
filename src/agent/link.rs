//! SHELL: the link's loop: dial, turn the pump, wait, dial again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use smol::channel::Receiver;
use smol::future;

use crate::mqtt::{Input, Reason};
use crate::telemetry::counters::Counters;
use crate::telemetry::status::State;
use crate::transport::{
    ClientTls, Connection, Dialer, EndpointAddress, QuicSettings, Reader, TransportError, Writer,
};
use crate::uplink::Backoff;

use super::pump::{Notice, Pump, PumpError};

/// Where to dial, and how.
pub(super) struct Dial {
    /// The collector.
    pub(super) endpoint: EndpointAddress,
    /// Whom we believe and who we are.
    pub(super) tls: ClientTls,
    /// The connection.
    pub(super) quic: QuicSettings,
    /// How long a dial may take.
    pub(super) timeout: Duration,
}

/// What the loop shares with the rest of the agent.
pub(super) struct Ties {
    /// The figures.
    pub(super) counters: Arc<Counters>,
    /// The agent's name, for its reports.
    pub(super) agent: String,
    /// Rung when something was staged, or nothing more will be.
    pub(super) staged: Receiver<()>,
    /// Whether a batch staged now would leave at once.
    pub(super) idle: Arc<AtomicBool>,
    /// The operator's wish to stop.
    pub(super) stop: Receiver<&'static str>,
    /// Set when nothing more will be staged.
    pub(super) finished: Arc<AtomicBool>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// A signal, by its name.
    Stopped(&'static str),
    /// Everything that will ever be staged has been acknowledged.
    Drained,
}

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After another connection under our name has ended ours.
const BACKOFF_RIVAL: Duration = Duration::from_secs(10);
/// How often the agent's state is published.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Runs until told to stop, or until everything is delivered.
pub(super) async fn run(pump: &mut Pump, dial: &Dial, ties: &Ties) -> End {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX, fastrand::u64(..));
    let (mut first, mut dialer) = (true, Dialer::default());
    loop {
        let mut wait_least = Duration::ZERO;
        ties.counters.link_is(State::Connecting, Instant::now());
        let dialled = async {
            Some(dialer.connect(&dial.endpoint, &dial.tls, &dial.quic, dial.timeout).await)
        };
        let why = match future::or(stopped(ties), async { Ok(dialled.await) }).await {
            Err(end) => return end,
            Ok(Some(Ok(connection))) => {
                if !std::mem::take(&mut first) {
                    ties.counters.reconnects.add(1);
                }
                match converse(pump, connection, ties, &mut backoff).await {
                    Err(end) => return end,
                    Ok(lost) => {
                        wait_least = lost.wait_least;
                        lost.why
                    }
                }
            }
            Ok(Some(Err(error))) => error.to_string(),
            Ok(None) => continue,
        };
        let wait = backoff.next_wait().max(wait_least);
        warn!("uplink: {why}; next try in {:.1} s", wait.as_secs_f64());
        ties.counters.link_is(State::Connecting, Instant::now());
        let waited = async {
            smol::Timer::after(wait).await;
            Ok(())
        };
        if let Err(end) = future::or(stopped(ties), waited).await {
            return end;
        }
        if pump.is_drained() && ties.finished.load(Ordering::Acquire) {
            return End::Drained;
        }
    }
}

/// Never yields `Ok`.
async fn stopped<T>(ties: &Ties) -> Result<T, End> {
    Err(End::Stopped(ties.stop.recv().await.unwrap_or("the end of the program")))
}

/// Why a connection ended, and how long the next one must be waited for at least.
struct Lost {
    why: String,
    wait_least: Duration,
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self { why, wait_least: Duration::ZERO }
    }
}

impl From<&PumpError> for Lost {
    fn from(error: &PumpError) -> Self {
        match error {
            PumpError::Buffer(error) => format!("the buffer cannot be read: {error}").into(),
            // Each of the two ends the other's connection as often as it comes back.
            PumpError::Refused(Reason::TAKEN_OVER) => Self {
                why: format!("{error}: is a second agent running under this name?"),
                wait_least: BACKOFF_RIVAL,
            },
            error => error.to_string().into(),
        }
    }
}

/// One connection. `Ok` is why it was lost.
async fn converse(
    pump: &mut Pump,
    connection: Connection,
    ties: &Ties,
    backoff: &mut Backoff,
) -> Result<Lost, End> {
    let Connection { mut reader, mut writer, peer, .. } = connection;
    let mut buffer = vec![0; 16 * 1024];
    let mut turned = pump.handle(Input::Opened, Instant::now());
    let mut report_at = Instant::now();
    let ended = loop {
        tell(pump, ties, &peer.address.to_string(), backoff);
        if let Err(why) = write(pump, &mut writer, ties).await? {
            break why.to_string().into();
        }
        if let Err(error) = turned {
            break Lost::from(&error);
        }
        ties.idle.store(pump.is_idle(), Ordering::Relaxed);
        let now = Instant::now();
        if pump.is_ready() && report_at <= now {
            report_at = now + REPORT_EVERY;
            let status = ties.counters.status(&ties.agent, now);
            let status = serde_json::to_vec(&status).expect("a status always serializes");
            turned = pump.report(status, now);
            continue;
        }
        if ties.finished.load(Ordering::Acquire) && pump.is_drained() {
            farewell(pump, writer).await;
            return Err(End::Drained);
        }
        let due = [pump.wake_at(), pump.is_ready().then_some(report_at)];
        let wake_at = due.into_iter().flatten().min();
        turned = match turn(pump, &mut reader, ties, &mut buffer, wake_at).await {
            Ok(turned) => turned,
            Err(Next::Lost(why)) => break why.into(),
            Err(Next::Stop(end)) => {
                farewell(pump, writer).await;
                return Err(end);
            }
        };
    };
    ties.idle.store(false, Ordering::Relaxed);
    // Only the session's memory is cleared; its words for a lost link say nothing new.
    let _ = pump.handle(Input::Lost, Instant::now());
    Ok(ended)
}

enum Next {
    Lost(String),
    Stop(End),
}

/// Waits for the next thing and hands it to the pump.
async fn turn(
    pump: &mut Pump,
    reader: &mut Reader,
    ties: &Ties,
    buffer: &mut [u8],
    wake_at: Option<Instant>,
) -> Result<Result<(), PumpError>, Next> {
    enum Event {
        Read(Result<usize, TransportError>),
        Staged,
        Tick,
        Stop(End),
    }
    let read = async { Event::Read(reader.read(buffer).await) };
    let staged = async {
        match ties.staged.recv().await {
            Ok(()) => Event::Staged,
            Err(_) => std::future::pending().await,
        }
    };
    let tick = async {
        match wake_at {
            Some(at) => smol::Timer::at(at).await,
            None => std::future::pending().await,
        };
        Event::Tick
    };
    let stop = async {
        match stopped::<()>(ties).await {
            Err(end) => Event::Stop(end),
            Ok(()) => std::future::pending().await,
        }
    };
    let event = future::or(stop, future::or(read, future::or(staged, tick))).await;
    let now = Instant::now();
    Ok(match event {
        Event::Read(Ok(0)) => return Err(Next::Lost("the collector closed the link".to_owned())),
        Event::Read(Ok(len)) => {
            pump.handle(Input::Bytes(buffer.get(..len).unwrap_or_default()), now)
        }
        Event::Read(Err(error)) => return Err(Next::Lost(error.to_string())),
        Event::Staged => pump.fill(now),
        Event::Tick => pump.handle(Input::Tick, now),
        Event::Stop(end) => return Err(Next::Stop(end)),
    })
}

/// Writes what the pump has. The inner error is the link's.
async fn write(
    pump: &mut Pump,
    writer: &mut Writer,
    ties: &Ties,
) -> Result<Result<(), TransportError>, End> {
    while let Some(bytes) = pump.poll() {
        ties.counters.bytes_sent.add(bytes.len() as u64);
        let written = async { Ok(writer.write(bytes).await) };
        // A link that takes nothing must not keep the agent from stopping.
        if let Err(error) = future::or(written, stopped(ties)).await? {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

async fn farewell(pump: &mut Pump, mut writer: Writer) {
    pump.disconnect();
    let said = async {
        while let Some(bytes) = pump.poll() {
            if writer.write(bytes).await.is_err() {
                break;
            }
        }
        writer.finish().await;
    };
    let late = async {
        smol::Timer::after(Duration::from_millis(600)).await;
    };
    future::or(said, late).await;
}

/// Logs and counts what happened.
fn tell(pump: &mut Pump, ties: &Ties, address: &str, backoff: &mut Backoff) {
    let counters = &ties.counters;
    while let Some(notice) = pump.notice() {
        let now = Instant::now();
        match notice {
            Notice::Online(_) => {
                info!("uplink: connected to {address}");
                backoff.reset();
                counters.link_is(State::Connected, now);
            }
            Notice::Sent { .. } => counters.batches_sent.add(1),
            Notice::Forgot { batches, .. } => {
                counters.batches_acknowledged.add(batches);
                counters.link_seen(now);
            }
            Notice::Rewound(why) => {
                warn!("uplink: everything unacknowledged is sent again: {why}");
            }
            Notice::NewEpoch { epoch, why } => warn!("uplink: epoch {epoch} begins: {why}"),
            Notice::Healed(what) => error!("{what}"),
            Notice::Rejected(reason) => {
                error!("uplink: the collector did not take a batch: {reason}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_under_our_name_is_not_fought_without_a_pause() {
        let lost = Lost::from(&PumpError::Refused(Reason::TAKEN_OVER));
        assert!(lost.wait_least >= Duration::from_secs(1), "{:?}", lost.wait_least);
        assert!(lost.why.contains("second agent"), "{}", lost.why);
        assert_eq!(Lost::from(&PumpError::Quarrel).wait_least, Duration::ZERO);
    }
}
