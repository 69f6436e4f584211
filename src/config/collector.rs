//! The settings of the centre.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{self, Section};
use super::secret::{PASSWORD_REFUSED, Password};
pub use super::value::Carrier;
use super::value::{
    self, choice, duration, file_stem, host, integer, listen, listen_or_off, name, path, plain,
    size,
};
use super::{Log, Problem, Telemetry};

/// All that the collector is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where the collector keeps what must outlive it.
    pub data_dir: PathBuf,
    /// Whose agents may connect.
    pub tenant: String,
    /// Where and how agents connect; `None` if they come through a broker alone.
    pub listen: Option<Listen>,
    /// The broker through which agents' batches come, if there is one.
    pub broker: Option<Broker>,
    /// The durable record of all batches.
    pub journal: Journal,
    /// Where changes go.
    pub sinks: Vec<Sink>,
    /// Who may watch.
    pub telemetry: Telemetry,
    /// What is logged.
    pub log: Log,
}

/// Where and how agents connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// The UDP address for MQTT over QUIC.
    pub quic: SocketAddr,
    /// The TCP address for MQTT over TLS, if it is wanted.
    pub tls: Option<SocketAddr>,
    /// Who must have signed the agents' certificates (PEM).
    pub ca: PathBuf,
    /// The collector's certificate and what leads to its signer (PEM).
    pub certificate: PathBuf,
    /// The certificate's key (PEM).
    pub key: PathBuf,
    /// Connections at the same time.
    pub connections_max: u32,
    /// The largest packet that an agent may send.
    pub packet_bytes_max: u64,
    /// The largest batch that is taken in, decompressed.
    pub batch_bytes_max: u64,
    /// What all agents together may have waiting in memory.
    pub memory_bytes_max: u64,
    /// Whose certificates no longer count, if there is such a list.
    pub denied: Option<PathBuf>,
    /// After how much silence a connection counts as dead.
    pub idle_timeout: Duration,
}

/// The broker through which agents' batches come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    /// How it is reached; in the clear only on this machine.
    pub carrier: Carrier,
    /// Its name or address.
    pub host: String,
    /// Its UDP or TCP port.
    pub port: u16,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// Who must have signed its certificate (PEM).
    pub ca: PathBuf,
    /// The collector's certificate as a client, and its key (PEM), for brokers that want one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The account, for brokers that want one.
    pub username: Option<String>,
    /// Its password.
    pub password: Password,
    /// What the collector calls itself; no other client may have the same.
    pub client_id: String,
    /// The group of collectors that shares the agents; `None` for one that takes all of them.
    pub share: Option<String>,
    /// The largest packet that the broker may send.
    pub packet_bytes_max: u64,
    /// The largest batch that is taken in, decompressed.
    pub batch_bytes_max: u64,
    /// What all batches together may have waiting in memory.
    pub memory_bytes_max: u64,
    /// The longest silence of ours.
    pub keep_alive: Duration,
    /// After how much silence a QUIC connection counts as dead.
    pub idle_timeout: Duration,
}

/// The durable record of all batches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// The SQLite file.
    pub path: PathBuf,
    /// Above this many bytes the oldest batches that every sink has are forgotten.
    pub bytes_max: u64,
    /// Batches that every sink has are forgotten at this age.
    pub age_max: Duration,
}

/// Where changes go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// Its name, unique, of letters, digits, `-` and `_`: the cursor and the files carry it.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
    /// How a change is written.
    pub format: Format,
    /// How a DECIMAL is written.
    pub decimal: Decimal,
    /// How a BIGINT UNSIGNED is written.
    pub bigint_unsigned: BigintUnsigned,
    /// How a date is written that no calendar has.
    pub zero_date: ZeroDate,
    /// How bytes are written of which the log does not say whether they are text.
    pub unknown_text: UnknownText,
}

/// What a sink is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SinkKind {
    /// One line per change to the standard output.
    Stdout,
    /// One line per change to files.
    File {
        /// Where the files are; it must exist.
        directory: PathBuf,
        /// A new file is begun at this size.
        bytes_max: u64,
    },
}

/// How a change is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Debezium's envelope as JSON, without schemas.
    Debezium,
}

/// How a DECIMAL is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decimal {
    /// The unscaled integer's bytes in base64, as Debezium does by default.
    Precise,
    /// Its digits as text.
    String,
    /// A JSON number with all its digits, which readers may round.
    Double,
}

/// How a BIGINT UNSIGNED is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BigintUnsigned {
    /// A number, also above 2^63-1.
    Number,
    /// Its digits as text.
    String,
}

/// How a date is written that no calendar has, such as `0000-00-00`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ZeroDate {
    /// `null` where the column allows it, else 1970-01-01, as Debezium does.
    NullOrEpoch,
    /// `null`.
    Null,
    /// As the server shows it.
    String,
}

/// How bytes are written of which the log does not say whether they are text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownText {
    /// Base64: nothing is guessed.
    Base64,
    /// As text where they happen to be UTF-8, else base64.
    Utf8,
}

impl Config {
    /// Reads a configuration; `env` looks up an environment variable, for the sinks that have
    /// a password.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        reader::read(text, |root| config(root, env))
    }
}

fn config(mut root: Section<'_>, env: &dyn Fn(&str) -> Option<String>) -> Config {
    let data_dir = root.optional("data_dir", path, PathBuf::from("/var/lib/rivulet-collector"));
    let mut log = root.section("log");
    let config = Config {
        tenant: root.optional("tenant", name, "default".to_owned()),
        // Without either, what the listener needs is missing.
        listen: (root.has("listen") || !root.has("broker"))
            .then(|| listener(root.section("listen"))),
        broker: root.has("broker").then(|| broker(root.section("broker"), env)),
        journal: journal(root.section("journal"), data_dir.join("journal.db")),
        sinks: sinks(root.sections("sink")),
        telemetry: Telemetry::read(root.section("telemetry")),
        log: Log::read(&mut log),
        data_dir,
    };
    log.finish();
    root.finish();
    config
}

fn listener(mut section: Section<'_>) -> Listen {
    let line = section.line_of("memory_bytes_max");
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let packet_bytes_max = packet_bytes_max(&mut section, 64 * MIB);
    let listen = Listen {
        quic: section.optional("quic", listen, any(14567)),
        tls: section.optional("tls", listen_or_off, Some(any(8883))),
        ca: section.required("ca", path),
        certificate: section.required("certificate", path),
        key: section.required("key", path),
        connections_max: section.optional("connections_max", integer(1..=100_000), 1000),
        packet_bytes_max,
        batch_bytes_max: batch_bytes_max(&mut section),
        memory_bytes_max: memory_bytes_max(&mut section, (2 * packet_bytes_max).max(256 * MIB)),
        denied: section.maybe("denied", path),
        idle_timeout: section.optional("idle_timeout", duration(s(3)..=s(300)), s(15)),
    };
    if listen.memory_bytes_max < 2 * listen.packet_bytes_max {
        section.complain(
            line,
            "`listen.memory_bytes_max` must be at least twice `packet_bytes_max`".to_owned(),
        );
    }
    section.finish();
    listen
}

fn broker(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>) -> Broker {
    let line = section.line_of("endpoint");
    let (carrier, remote, port) = section.required("endpoint", value::endpoint);
    if carrier == Carrier::Plain && !value::is_loopback(&remote) {
        let text = "`broker.endpoint` leaves this machine in the clear; use quic:// or mqtts://";
        section.complain(line, text.to_owned());
    }
    let username = section.maybe("username", plain);
    section.refuse("password", PASSWORD_REFUSED);
    let password = section.password(env);
    let broker = Broker {
        carrier,
        server_name: section.optional("server_name", host, remote.clone()),
        host: remote,
        port,
        ca: section.required("ca", path),
        identity: identity(&mut section, username.is_none()),
        username,
        password,
        client_id: section.optional("client_id", name, "rivulet-collector".to_owned()),
        share: section.maybe("share", name),
        packet_bytes_max: packet_bytes_max(&mut section, 16 * MIB),
        batch_bytes_max: batch_bytes_max(&mut section),
        memory_bytes_max: memory_bytes_max(&mut section, 256 * MIB),
        keep_alive: section.optional("keep_alive", duration(s(1)..=s(600)), s(20)),
        idle_timeout: section.optional("idle_timeout", duration(s(3)..=s(300)), s(15)),
    };
    section.finish();
    broker
}

fn packet_bytes_max(section: &mut Section<'_>, default: u64) -> u64 {
    section.optional("packet_bytes_max", size(64 * KIB..=256 * MIB - 1), default)
}

fn batch_bytes_max(section: &mut Section<'_>) -> u64 {
    section.optional("batch_bytes_max", size(8 * MIB..=1024 * MIB + 64 * MIB), 256 * MIB)
}

fn memory_bytes_max(section: &mut Section<'_>, default: u64) -> u64 {
    section.optional("memory_bytes_max", size(2 * MIB..=64 * 1024 * MIB), default)
}

/// A client's certificate and its key: both or, if there is another way to log in, none.
fn identity(section: &mut Section<'_>, needed: bool) -> Option<(PathBuf, PathBuf)> {
    if needed || section.has("certificate") || section.has("key") {
        Some((section.required("certificate", path), section.required("key", path)))
    } else {
        None
    }
}

fn journal(mut section: Section<'_>, default_path: PathBuf) -> Journal {
    let journal = Journal {
        path: section.optional("path", path, default_path),
        bytes_max: section.optional("bytes_max", size(16 * MIB..=16 * MIB * MIB), 10 << 30),
        age_max: section.optional("age_max", duration(s(60)..=s(3650 * DAY_S)), s(7 * DAY_S)),
    };
    section.finish();
    journal
}

fn sinks(sections: Vec<Section<'_>>) -> Vec<Sink> {
    let mut sinks: Vec<Sink> = Vec::new();
    for mut section in sections {
        let line = section.line_of("name");
        let sink = sink(&mut section);
        if sinks.iter().any(|other| other.name == sink.name && !sink.name.is_empty()) {
            let text = format!("`sink.name` is \"{}\", which another sink has already", sink.name);
            section.complain(line, text);
        }
        section.finish();
        sinks.push(sink);
    }
    sinks
}

fn sink(section: &mut Section<'_>) -> Sink {
    let decimals =
        [("precise", Decimal::Precise), ("string", Decimal::String), ("double", Decimal::Double)];
    let bigints = [("number", BigintUnsigned::Number), ("string", BigintUnsigned::String)];
    let zero_dates = [
        ("null-or-epoch", ZeroDate::NullOrEpoch),
        ("null", ZeroDate::Null),
        ("string", ZeroDate::String),
    ];
    let unknown_texts = [("base64", UnknownText::Base64), ("utf8", UnknownText::Utf8)];
    if !section.has("kind") {
        section.missing("kind", "");
    }
    let kinds = choice([("stdout", Some(false)), ("file", Some(true))]);
    Sink {
        name: section.required("name", file_stem),
        kind: match section.optional("kind", kinds, None) {
            Some(true) => SinkKind::File {
                directory: section.required("directory", path),
                bytes_max: section.optional("file_bytes_max", size(64 * KIB..=MIB * MIB), 64 * MIB),
            },
            Some(false) => {
                for key in ["directory", "file_bytes_max"] {
                    section.refuse(key, "is a setting of `kind = \"file\"`");
                }
                SinkKind::Stdout
            }
            None => {
                // What kind it was meant to be is not known: its keys are neither right nor wrong.
                section.ignore(&["directory", "file_bytes_max"]);
                SinkKind::Stdout
            }
        },
        format: section.optional(
            "format",
            choice([("debezium", Format::Debezium)]),
            Format::Debezium,
        ),
        decimal: section.optional("decimal", choice(decimals), Decimal::Precise),
        bigint_unsigned: section.optional(
            "bigint_unsigned",
            choice(bigints),
            BigintUnsigned::Number,
        ),
        zero_date: section.optional("zero_date", choice(zero_dates), ZeroDate::NullOrEpoch),
        unknown_text: section.optional("unknown_text", choice(unknown_texts), UnknownText::Base64),
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY_S: u64 = 86_400;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../configs/collector.toml");

    const LEAST: &str = "[listen]\nca = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(text, &|_| None)
    }

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let text = r#"[listen]
quic = "14567"
tls = "no"
connections_max = 0

[[sink]]
name = "a"
kind = "stdout"
directory = "/tmp"

[[sink]]
name = "a"
kind = "file"
decimal = "exact"

[[sink]]
name = "b"
kind = "kafka"
directory = "/tmp"
"#;
        assert_eq!(
            problems(text),
            [
                "line 1: `listen.ca` is missing",
                "line 1: `listen.certificate` is missing",
                "line 1: `listen.key` is missing",
                r#"line 2: `listen.quic` is "14567", must be an address such as "[::]:14567" or "0.0.0.0:14567""#,
                r#"line 3: `listen.tls` is "no", must be "off" or an address such as "[::]:8883" or "0.0.0.0:8883""#,
                "line 4: `listen.connections_max` is 0, must be from 1 to 100000",
                r#"line 9: `sink.directory` is a setting of `kind = "file"`"#,
                "line 11: `sink.directory` is missing",
                r#"line 12: `sink.name` is "a", which another sink has already"#,
                r#"line 14: `sink.decimal` is "exact", must be "precise", "string" or "double""#,
                r#"line 18: `sink.kind` is "kafka", must be "stdout" or "file""#,
            ]
        );
    }

    #[test]
    fn the_memory_for_all_holds_two_packets() {
        let text = format!("{LEAST}packet_bytes_max = \"64MiB\"\nmemory_bytes_max = \"100MiB\"\n");
        let wanted = "`listen.memory_bytes_max` must be at least twice `packet_bytes_max`";
        assert_eq!(problems(&text), [format!("line 6: {wanted}")]);
        let large =
            parse(&format!("{LEAST}packet_bytes_max = \"200MiB\"\n")).unwrap().listen.unwrap();
        assert_eq!(large.memory_bytes_max, 400 * MIB);
    }

    #[test]
    fn sinks_keep_their_order() {
        let text = format!(
            "{LEAST}[[sink]]\nname = \"b\"\nkind = \"stdout\"\n\
             [[sink]]\nname = \"a\"\nkind = \"file\"\ndirectory = \"out\"\n"
        );
        let sinks = parse(&text).unwrap().sinks;
        let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let file = SinkKind::File { directory: "out".into(), bytes_max: 64 * MIB };
        assert_eq!(sinks[1].kind, file);
    }

    #[test]
    fn a_sink_is_written_as_a_list() {
        assert_eq!(
            problems(&format!("{LEAST}[sink]\nname = \"a\"\n")),
            ["line 5: `sink` must be written `[[sink]]`"]
        );
    }

    const AT_BROKER: &str = include_str!("../../configs/collector-at-broker.toml");

    #[test]
    fn a_broker_takes_the_listeners_place_or_stands_beside_it() {
        let broker = "[broker]\nendpoint = \"mqtts://b.net\"\nca = \"ca.pem\"\n\
                      certificate = \"c.pem\"\nkey = \"k.pem\"\n";
        let alone = parse(broker).unwrap();
        assert_eq!(alone.listen, None);
        let at = alone.broker.unwrap();
        assert_eq!(
            (at.carrier, at.host.as_str(), at.port, at.share),
            (Carrier::Tls, "b.net", 8883, None)
        );
        let both = parse(&format!("{LEAST}{broker}")).unwrap();
        assert!(both.listen.is_some() && both.broker.is_some());
    }

    #[test]
    fn nothing_leaves_the_machine_in_the_clear() {
        let at = |host: &str| {
            format!("[broker]\nendpoint = \"mqtt://{host}\"\nca = \"c\"\nusername = \"u\"\n")
        };
        assert_eq!(parse(&at("127.0.0.1")).unwrap().broker.unwrap().carrier, Carrier::Plain);
        assert_eq!(
            problems(&at("b.net")),
            ["line 2: `broker.endpoint` leaves this machine in the clear; use quic:// or mqtts://"]
        );
    }

    #[test]
    fn at_a_broker_one_logs_in_by_certificate_or_password() {
        let with =
            |rest: &str| format!("[broker]\nendpoint = \"quic://b\"\nca = \"ca.pem\"\n{rest}");
        assert_eq!(
            problems(&with("share = \"a/b\"\n")),
            [
                "line 1: `broker.certificate` is missing",
                "line 1: `broker.key` is missing",
                r#"line 4: `broker.share` is "a/b", must be 1 to 64 letters, digits, `-`, `_` or `.`, with a letter or digit first"#,
            ]
        );
        let account = with("username = \"centre\"\npassword_file = \"p\"\n");
        assert_eq!(parse(&account).unwrap().broker.unwrap().identity, None);
        assert_eq!(problems(&with("username = \"u\"\npassword = \"hunter2\"\n")).len(), 1);
        assert_eq!(
            problems(&with("username = \"u\"\nkey = \"k\"\n")),
            ["line 1: `broker.certificate` is missing"]
        );
    }

    #[test]
    fn the_sample_at_a_broker_shows_the_defaults_and_names_every_key() {
        let bare = parse(AT_BROKER).unwrap();
        assert_eq!(bare, parse(&super::super::uncommented(AT_BROKER)).unwrap());
        let keys = ["endpoint", "server_name", "ca", "certificate", "key", "username", "client_id"];
        let more = ["password_file", "password_env", "share", "packet_bytes_max", "keep_alive"];
        for key in
            [&keys[..], &more, &["idle_timeout", "batch_bytes_max", "memory_bytes_max"]].concat()
        {
            assert!(AT_BROKER.contains(&format!("{key} = ")), "{key}");
        }
    }

    #[test]
    fn the_sample_shows_the_defaults() {
        let bare = parse(SAMPLE).unwrap();
        let full = super::super::uncommented(SAMPLE);
        assert!(full.contains("\nconnections_max = 1000\n"));
        assert_eq!(bare, parse(&full).unwrap());
        assert_eq!(bare.sinks.len(), 1);
    }

    #[test]
    fn the_sample_names_every_key() {
        let keys =
            ["data_dir", "tenant", "quic", "tls", "ca", "certificate", "key", "connections_max"];
        let more = [
            "batch_bytes_max",
            "memory_bytes_max",
            "denied",
            "packet_bytes_max",
            "idle_timeout",
            "path",
            "bytes_max",
            "age_max",
            "name",
        ];
        let rest =
            ["kind", "directory", "file_bytes_max", "format", "decimal", "zero_date", "level"];
        for key in [&keys[..], &more, &rest].concat() {
            assert!(SAMPLE.contains(&format!("{key} = ")), "{key}");
        }
    }
}
