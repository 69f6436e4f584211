//! SHELL: the collector at a broker: dials, subscribes, hands batches in, publishes acknowledgements; and
//! dials again.
//!
//! ```text
//!   broker ──batches──► subscriber ──hall──► intake thread
//!     ▲                     │  ▲                  │
//!     └──── acknowledgements ┘  └──── answers ────┘
//! ```

use std::time::{Duration, Instant};

use log::{Level, error, info, warn};
use smol::channel::{self, Receiver};
use smol::future;

use crate::batch::{Ack, Demand};
use crate::config::collector as config;
use crate::mqtt::{ClientSettings, Input, Login};
use crate::telemetry::logger::tame;
use crate::transport::{
    ClientTls, Connection, Dialer, EndpointAddress, IdentityFiles, QuicSettings, Reader, Scheme,
    TransportError, Writer,
};

use super::elsewhere::Elsewhere;
use super::figures::Pulse;
use super::hall::{Answer, Hall};
use super::intake::Inbound;
use super::memory::Account;
use super::subscriber::{News, Settings, Subscriber, SubscriberError};

/// The collector's place at a broker.
pub(super) struct Broker<'a> {
    pub(super) config: &'a config::Broker,
    pub(super) hall: &'a Hall,
    pub(super) elsewhere: Elsewhere,
    pub(super) pulse: &'a Pulse,
}

/// For as long as it is polled: is connected, or tries to be.
pub(super) async fn serve(broker: &Broker<'_>) {
    let (dialer, mut wait) = (Dialer::default(), RETRY_MIN);
    loop {
        let began = Instant::now();
        let why = match dial(broker.config, &dialer).await {
            Ok((connection, login)) => converse(broker, connection, login).await,
            Err(why) => why,
        };
        broker.pulse.fails(&why);
        wait = if began.elapsed() > STEADY { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
        // Collectors that lost the same broker do not come back in step.
        let pause = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        warn!("broker {}: {why}; next try in {:.1} s", broker.config.host, pause.as_secs_f64());
        smol::Timer::after(pause).await;
    }
}

/// Certificates and password are read for each dial: renewed ones need no restart.
async fn dial(
    config: &config::Broker,
    dialer: &Dialer,
) -> Result<(Connection, Option<Login>), String> {
    let identity = config.identity.as_ref();
    let identity = identity.map(|(chain, key)| IdentityFiles { chain, key });
    let tls = ClientTls::load(&config.ca, identity).map_err(|error| error.to_string())?;
    let login = match &config.username {
        None => None,
        Some(username) => {
            let secret = config.password.read().map_err(|error| error.to_string())?;
            let (username, password) = (username.clone(), secret.expose().to_owned());
            Some(Login { username, password })
        }
    };
    let endpoint = EndpointAddress {
        scheme: match config.carrier {
            config::Carrier::Quic => Scheme::Quic,
            config::Carrier::Tls => Scheme::Tls,
            config::Carrier::Plain => Scheme::Plain,
        },
        host: config.host.clone(),
        port: config.port,
        server_name: Some(config.server_name.clone()),
    };
    let quic = QuicSettings {
        idle_timeout: config.idle_timeout,
        keep_alive: config.idle_timeout / 3,
        stream_window: WINDOW_BYTES,
        connection_window: WINDOW_BYTES,
        ..QuicSettings::default()
    };
    let dialled = dialer.connect(&endpoint, &tls, &quic, DIAL_MAX).await;
    dialled.map(|connection| (connection, login)).map_err(|error| error.to_string())
}

/// One connection; why it ended.
async fn converse(broker: &Broker<'_>, connection: Connection, login: Option<Login>) -> String {
    let Connection { mut reader, mut writer, peer, .. } = connection;
    let (answers, inbox) = channel::unbounded();
    let (number, account) = (broker.hall.number(), Account::default());
    let mut subscriber = Subscriber::new(settings(broker, login));
    let (mut buffer, mut begun) = (vec![0; READ_BYTES], false);
    let mut turned = subscriber.handle(Input::Opened, Instant::now());
    loop {
        while let Some(news) = subscriber.news() {
            match news {
                News::Online(_) => info!("broker: connected to {}", peer.address),
                News::Begun { shared } => {
                    begun = true;
                    info!("broker: subscribed{}", if shared { ", sharing the agents" } else { "" });
                    begin(broker, &mut subscriber, &mut turned);
                }
                News::Unshared(why) => warn!(
                    "broker: the shared subscription cannot be used: {why}; all agents' batches are \
                     taken in its place, by every collector that finds the same"
                ),
                News::Batch { agent, message } => {
                    if !broker.hall.bring(&agent, number, &answers, Instant::now()) {
                        deny(broker, &agent, "a batch");
                        continue;
                    }
                    let held = broker.hall.memory.take(message.len() + JOB_BYTES, &account);
                    let inbound = Inbound { agent, message };
                    if !broker.hall.hand_in(inbound, held, 0, &answers) {
                        return "the collector stops".to_owned();
                    }
                }
                News::Heard { agent, ack } => broker.elsewhere.heard(&agent, ack),
                News::Status { agent, text } => {
                    let now = Instant::now();
                    if !broker.hall.bring_status(&agent, &text, number, &answers, now) {
                        deny(broker, &agent, "its status");
                    }
                }
                News::Stray(topic) => {
                    let words = format!("broker: a message on {} is not ours", tame(&topic));
                    broker.hall.say(Level::Warn, "broker", &words);
                }
                News::Rejected(reason) => {
                    error!("broker: a message of ours was not taken: {reason}");
                }
            }
        }
        if let Err(error) = write(&mut subscriber, &mut writer).await {
            return error.to_string();
        }
        if let Err(error) = turned {
            return error.to_string();
        }
        // What is not read stays in the broker; every batch that is logged gives room, and is answered.
        let reader = (account.bytes() < WAITING_BYTES_MAX).then_some(&mut reader);
        if begun {
            broker.pulse.beat(Instant::now());
        }
        turned = match turn(&mut subscriber, reader, &inbox, &mut buffer).await {
            Ok(turned) => turned,
            Err(why) => {
                subscriber.disconnect();
                let _ = write(&mut subscriber, &mut writer).await;
                writer.finish().await;
                return why;
            }
        };
    }
}

fn deny(broker: &Broker<'_>, agent: &str, what: &str) {
    let words = format!("agent {agent} is on the deny list: {what} is dropped");
    broker.hall.say(Level::Warn, agent, &words);
}

fn settings(broker: &Broker<'_>, login: Option<Login>) -> Settings {
    let config = broker.config;
    let keep_alive_s = u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX);
    Settings {
        session: ClientSettings {
            client_id: config.client_id.clone(),
            keep_alive_s: keep_alive_s.max(1),
            // What the broker would keep for us while we are away, the agents keep better.
            session_expiry_s: 0,
            clean_start: true,
            will: None,
            login,
            receive_maximum: RECEIVE_MAXIMUM,
            packet_bytes_max: u32::try_from(config.packet_bytes_max).unwrap_or(u32::MAX),
            patience: PATIENCE,
        },
        tenant: broker.hall.tenant.to_string(),
        share: config.share.clone(),
        probe_patience: PROBE_PATIENCE,
    }
}

/// What agents sent while we were not subscribed is lost in the broker: each is told where we stand, and
/// that it is to go on from there. Those that stand elsewhere are another collector's.
fn begin(
    broker: &Broker<'_>,
    subscriber: &mut Subscriber,
    turned: &mut Result<(), SubscriberError>,
) {
    let now = Instant::now();
    for (agent, ack) in broker.hall.acks() {
        let elsewhere = broker.elsewhere.of(&agent);
        let behind = |other: Ack| (ack.epoch, ack.sequence) < (other.epoch, other.sequence);
        if ack.epoch == 0 || elsewhere.is_some_and(behind) {
            continue;
        }
        let why = "the collector was not at the broker".to_owned();
        let demand = Ack { demand: Some(Demand::Rewind), demand_epoch: ack.epoch, why, ..ack };
        if turned.is_ok() {
            *turned = subscriber.tell(&agent, demand, now);
        }
    }
}

async fn write(subscriber: &mut Subscriber, writer: &mut Writer) -> Result<(), TransportError> {
    while let Some(bytes) = subscriber.poll() {
        writer.write(bytes).await?;
    }
    Ok(())
}

/// Waits for the next thing and hands it to the subscriber. The outer error: the conversation is over.
async fn turn(
    subscriber: &mut Subscriber,
    reader: Option<&mut Reader>,
    inbox: &Receiver<Answer>,
    buffer: &mut [u8],
) -> Result<Result<(), SubscriberError>, String> {
    enum Next {
        Read(Result<usize, TransportError>),
        Answer(Answer),
        Tick,
    }
    let wake_at = subscriber.wake_at();
    let read = async {
        match reader {
            Some(reader) => Next::Read(reader.read(buffer).await),
            None => std::future::pending().await,
        }
    };
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
    Ok(match next {
        Next::Tick => subscriber.handle(Input::Tick, now),
        Next::Read(Ok(0)) => return Err("the broker closed the link".to_owned()),
        Next::Read(Ok(len)) => {
            subscriber.handle(Input::Bytes(buffer.get(..len).unwrap_or_default()), now)
        }
        Next::Read(Err(error)) => return Err(error.to_string()),
        Next::Answer(Answer::Pass { agent, ack }) => subscriber.tell(&agent, ack, now),
        // The broker was told already.
        Next::Answer(Answer::Done { .. }) => Ok(()),
        // Said to those who have a connection of their own.
        Next::Answer(Answer::Ack(_) | Answer::Status(_) | Answer::Dismiss(_)) => Ok(()),
    })
}

/// How long the broker may owe an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a message may take through the broker and back before its shared subscription counts as broken.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
const DIAL_MAX: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(30);
/// QoS 1 messages that the broker may have under way to us: many agents share it, and what it has no room
/// for it drops sooner or later.
const RECEIVE_MAXIMUM: u16 = 1024;
const READ_BYTES: usize = 64 * 1024;
/// So much may wait for the intake before the broker is no longer read from.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// What a batch that waits takes beside its bytes.
const JOB_BYTES: usize = 512;
/// What the broker may have under way to us in bytes.
const WINDOW_BYTES: u32 = 4 << 20;
