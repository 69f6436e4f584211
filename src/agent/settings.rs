//! The configuration, as each room wants it.

use std::time::Duration;

use crate::batch::{Channel, Topic};
use crate::buffer;
use crate::config::agent::{self as config, Config};
use crate::mqtt::{Bytes, ClientSettings, QoS, Will};
use crate::mysql::auth::Password;
use crate::mysql::channel::Address;
use crate::mysql::connection::Endpoint;
use crate::mysql::tls::TlsMode;
use crate::source::{
    self, FilesSettings, LiveSettings, OnStatement, OnUnknownNames, Origin, Start,
};
use crate::transport::{
    ClientFiles, Congestion, EndpointAddress, QuicSettings, Scheme, TransportError,
};
use crate::uplink;

use super::pump;
use super::reader::Cut;
use super::road::Dial;
use super::stager::Full;

/// How long the collector may owe an answer: it must exceed what the slowest link needs for a batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the certificates' files are looked at while a link stands.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// The longest packet that is accepted from the collector: acknowledgements and commands are short.
const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// What QUIC takes in before it is read: a few such packets.
const RECEIVE_BYTES: u32 = 4 * PACKET_BYTES_MAX;
/// The largest event that the servers send: `max_allowed_packet`'s limit and the header.
const EVENT_BYTES_MAX: u32 = (1 << 30) + 1024;

pub(super) fn buffer(config: &Config, boot_id: String) -> buffer::Settings {
    buffer::Settings {
        bytes_max: config.buffer.bytes_max,
        durability: match config.buffer.durability {
            config::Durability::Normal => buffer::Durability::Normal,
            config::Durability::Strict => buffer::Durability::Strict,
        },
        boot_id,
    }
}

pub(super) fn cut(config: &Config) -> Cut {
    Cut {
        full: Full {
            bytes_max: usize::try_from(config.batch.bytes_max).unwrap_or(usize::MAX),
            rows_max: config.batch.rows_max,
        },
        age_max: config.batch.age_max,
        level: level(config),
    }
}

fn level(config: &Config) -> i32 {
    i32::try_from(config.batch.zstd_level).unwrap_or(1)
}

pub(super) fn pump(config: &Config) -> pump::Settings {
    let uplink = &config.uplink;
    let status = Topic { tenant: &config.tenant, agent: &config.agent, channel: Channel::Status };
    let offline = serde_json::json!({ "agent": config.agent, "link": { "state": "off" } });
    let keep_alive_s = u16::try_from(uplink.keep_alive.as_secs()).unwrap_or(u16::MAX);
    pump::Settings {
        agent: config.agent.clone(),
        tenant: config.tenant.clone(),
        session: ClientSettings {
            client_id: config.agent.clone(),
            keep_alive_s: keep_alive_s.max(1),
            session_expiry_s: 0,
            clean_start: true,
            will: Some(Will {
                topic: status.to_string(),
                payload: Bytes::from(offline.to_string()),
                qos: QoS::AtMostOnce,
                // As what is reported. A broker that retains nothing refuses a CONNECT whose will is
                // to be retained, and RMQTT closes the link before that can be read.
                retain: false,
            }),
            login: None,
            receive_maximum: 16,
            packet_bytes_max: PACKET_BYTES_MAX,
            patience: PATIENCE,
        },
        packet_bytes_max: u32::try_from(uplink.packet_bytes_max).unwrap_or(u32::MAX),
        uplink: uplink::Settings {
            window_bytes: usize::try_from(uplink.window_bytes).unwrap_or(usize::MAX),
            window_batches: uplink.window_packets.into(),
            silence_max: uplink.silence_max,
        },
        level: level(config),
    }
}

pub(super) fn dial(config: &Config) -> Result<Dial, TransportError> {
    let uplink = &config.uplink;
    let identity = (uplink.certificate.clone(), uplink.key.clone());
    let endpoint = |remote: &config::Remote| EndpointAddress {
        scheme: match remote.carrier {
            config::Carrier::Quic => Scheme::Quic,
            config::Carrier::Tls => Scheme::Tls,
            config::Carrier::Plain => Scheme::Plain,
        },
        host: remote.host.clone(),
        port: remote.port,
        server_name: uplink.server_name.clone(),
    };
    Ok(Dial {
        endpoints: uplink.endpoints.iter().map(endpoint).collect(),
        files: ClientFiles::load(uplink.ca.clone(), Some(identity))?,
        quic: QuicSettings {
            idle_timeout: uplink.idle_timeout,
            keep_alive: uplink.keep_alive,
            congestion: match uplink.congestion {
                config::Congestion::Cubic => Congestion::Cubic,
                config::Congestion::Bbr => Congestion::Bbr,
                config::Congestion::NewReno => Congestion::NewReno,
            },
            send_window: u32::try_from(uplink.send_window).unwrap_or(u32::MAX),
            segmentation_offload: uplink.segmentation_offload,
            stream_window: RECEIVE_BYTES,
            connection_window: RECEIVE_BYTES,
        },
        timeout: uplink.dial_timeout,
        probe_every: uplink.probe_every,
        early_data: uplink.early_data,
        budget: budget(config),
        look_every: LOOK_EVERY,
    })
}

pub(super) fn budget(config: &Config) -> uplink::BudgetLimits {
    let config::Budget { second, hour, day } = config.uplink.budget;
    uplink::BudgetLimits { per_second: second, per_hour: hour, per_day: day }
}

pub(super) fn source(config: &Config) -> Result<source::Settings, String> {
    let (origin, start) = match &config.source {
        config::Source::Live(live) => (Origin::Live(self::live(live)?), start(live.start)),
        config::Source::Files(files) => {
            let path = files.index.clone().unwrap_or_else(|| files.path.clone());
            let files = FilesSettings { path, follow: files.follow, identity: None };
            (Origin::Files { files, names: None }, Start::Earliest)
        }
    };
    Ok(source::Settings {
        origin,
        start,
        on_statement: match config.on_statement {
            config::Statements::Stop => OnStatement::Stop,
            config::Statements::SkipAndReport => OnStatement::LeaveOut,
        },
        on_unknown_names: match config.on_unknown_names {
            config::UnknownNames::Stop => OnUnknownNames::Stop,
            config::UnknownNames::Number => OnUnknownNames::Number,
        },
        event_bytes_max: EVENT_BYTES_MAX,
    })
}

fn start(start: config::Start) -> Start {
    match start {
        config::Start::Earliest => Start::Earliest,
        config::Start::Latest => Start::Latest,
    }
}

fn live(live: &config::Live) -> Result<LiveSettings, String> {
    let address = match &live.address {
        config::Address::Tcp { host, port } => Address::Tcp { host: host.clone(), port: *port },
        config::Address::Socket(path) => Address::Unix(path.clone()),
    };
    let secret = live.password.read().map_err(|error| error.to_string())?;
    let password = Password::new(secret.expose().as_bytes());
    let mut endpoint = Endpoint::new(address, live.user.clone(), password);
    let ca = || live.ca.as_deref().ok_or_else(|| "source.ca is missing".to_owned());
    endpoint.tls = match live.tls {
        config::Tls::Disabled => TlsMode::Disabled,
        config::Tls::Required => TlsMode::required(ca()?, None).map_err(|e| e.to_string())?,
        config::Tls::VerifyCa => TlsMode::verify_ca(ca()?, None).map_err(|e| e.to_string())?,
    };
    endpoint.allow_public_key_retrieval = live.allow_public_key_retrieval.then_some(true);
    Ok(LiveSettings { endpoint, server_id: live.server_id, heartbeat: live.heartbeat })
}
