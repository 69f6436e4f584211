//! The settings of the edge.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{self, Section};
use super::secret::{PASSWORD_REFUSED, Password};
pub use super::value::Carrier;
use super::value::{
    self, choice, duration, endpoints, flag, host, integer, name, path, plain, size,
};
use super::{Log, Problem, Telemetry};

/// All that the agent is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The agent's name, the one in its certificate.
    pub agent: String,
    /// Whose agent it is; the second level of its topics.
    pub tenant: String,
    /// Where the agent keeps what must outlive it.
    pub state_dir: PathBuf,
    /// Where changes come from.
    pub source: Source,
    /// What to do with rows whose column names neither the log nor the server tells.
    pub on_unknown_names: UnknownNames,
    /// What to do with a change that was logged as a statement.
    pub on_statement: Statements,
    /// When a batch is cut.
    pub batch: Batch,
    /// The durable queue.
    pub buffer: Buffer,
    /// The way to the collector.
    pub uplink: Uplink,
    /// Who may watch.
    pub telemetry: Telemetry,
    /// What is logged.
    pub log: Log,
}

/// Where changes come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A running server, read as a replica reads it.
    Live(Live),
    /// Binlog files.
    Files(Files),
}

/// A running server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Live {
    /// Where the server listens.
    pub address: Address,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// What the agent calls itself among the server's replicas; 1 and up.
    pub server_id: u32,
    /// How the connection is protected.
    pub tls: Tls,
    /// Who must have signed the server's certificate (PEM); there unless `tls` is disabled.
    pub ca: Option<PathBuf>,
    /// Without TLS: believe the server's RSA key, which a man in the middle could replace.
    pub allow_public_key_retrieval: bool,
    /// How often a silent server is asked to say that it is alive.
    pub heartbeat: Duration,
    /// Where an agent without a position begins.
    pub start: Start,
}

/// Where a server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address.
        host: String,
        /// 1 and up.
        port: u16,
    },
    /// A local socket's file.
    Socket(PathBuf),
}

/// How the connection to the server is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    /// Encrypted; the certificate must be signed by `ca` and carry the host's name.
    Required,
    /// Encrypted; the certificate must be signed by `ca`. For the certificates that servers make
    /// for themselves, which carry no name.
    VerifyCa,
    /// In the clear.
    Disabled,
}

/// Where an agent without a position begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// At the oldest change that the server still has.
    Earliest,
    /// At the next change.
    Latest,
}

/// What to do with rows whose column names are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownNames {
    /// Stop, and say which table.
    Stop,
    /// Call the columns `@1`, `@2`, …
    Number,
}

/// What to do with a change that was logged as a statement: its rows are not in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Statements {
    /// Stop, and say where.
    Stop,
    /// Leave it out, count it, and say so in the log.
    SkipAndReport,
}

/// Binlog files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    /// One binlog file, or a directory with an index of them.
    pub path: PathBuf,
    /// The index; if `None`, the only `*.index` in the directory.
    pub index: Option<PathBuf>,
    /// Whether to wait for more at the end.
    pub follow: bool,
}

/// When a batch is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Uncompressed bytes.
    pub bytes_max: u64,
    /// Row changes.
    pub rows_max: u32,
    /// The longest that a change waits for others.
    pub age_max: Duration,
    /// 1 to 4: what lies above costs a small machine more than it saves, and its strategies are not in the edge's
    /// static program.
    pub zstd_level: u32,
}

/// The durable queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Buffer {
    /// The SQLite file.
    pub path: PathBuf,
    /// Bytes on disk, the write-ahead log included; reading pauses at four fifths.
    pub bytes_max: u64,
    /// What a commit waits for.
    pub durability: Durability,
    /// What to do when the collector has lost what the source does not have any more.
    pub on_gap: Gaps,
}

/// What to do when the collector has lost what the source does not have any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gaps {
    /// Send nothing, keep what is staged, and say what is missing.
    Stop,
    /// Let it be missing, and say so in the logs of both ends.
    SkipAndReport,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// The kernel: after a power cut the newest batches are read from the binlog again.
    Normal,
    /// The disk: for servers whose own binlog does not survive a power cut.
    Strict,
}

/// The way to the collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uplink {
    /// The ways to the collector or broker, the best first; at least one.
    pub endpoints: Vec<Remote>,
    /// The name that its certificate must carry, if it is not the endpoint's host.
    pub server_name: Option<String>,
    /// Who must have signed its certificate (PEM).
    pub ca: PathBuf,
    /// The agent's certificate and what leads to its signer (PEM).
    pub certificate: PathBuf,
    /// The certificate's key (PEM).
    pub key: PathBuf,
    /// Bytes sent and not yet acknowledged.
    pub window_bytes: u64,
    /// Packets sent and not yet acknowledged.
    pub window_packets: u16,
    /// The largest packet that is sent; a larger batch goes in fragments.
    pub packet_bytes_max: u64,
    /// How often an idle link shows that it is alive.
    pub keep_alive: Duration,
    /// After how much silence a link counts as dead.
    pub idle_timeout: Duration,
    /// How the sending rate is found.
    pub congestion: Congestion,
    /// How long a connection may take to come about.
    pub dial_timeout: Duration,
    /// How often a better endpoint is tried while a worse one is in use.
    pub probe_every: Duration,
    /// How long a collector that was given batches may acknowledge none before they are sent again.
    pub silence_max: Duration,
    /// Bytes in QUIC's hands that the peer does not yet have.
    pub send_window: u64,
    /// Whether the kernel may cut QUIC's datagrams (GSO).
    pub segmentation_offload: bool,
    /// Whether a connection that is made again carries batches in its first packets (0-RTT).
    pub early_data: bool,
    /// How much may be sent.
    pub budget: Budget,
}

/// One way to the collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remote {
    /// What carries the bytes.
    pub carrier: Carrier,
    /// A name or an address.
    pub host: String,
    /// 1 and up.
    pub port: u16,
}

/// How much may be sent, in bytes; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Budget {
    /// In a second.
    pub second: Option<u64>,
    /// In an hour of UTC.
    pub hour: Option<u64>,
    /// In a day of UTC.
    pub day: Option<u64>,
}

/// How the sending rate is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Congestion {
    /// By losses.
    Cubic,
    /// By measuring rate and delay: faster on links that lose packets at random.
    Bbr,
    /// By losses, more cautiously.
    NewReno,
}

impl Config {
    /// Reads a configuration; `env` looks up an environment variable.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        reader::read(text, |root| config(root, env))
    }
}

/// The replica id of an agent that was given none: 3,000,000,000 to 3,999,999,999, by FNV-1a over
/// the name. People number their servers from below, so a clash is unlikely, and never silent.
pub fn replica_id(agent: &str) -> u32 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = agent.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    3_000_000_000 + (hash % 1_000_000_000) as u32
}

fn config(mut root: Section<'_>, env: &dyn Fn(&str) -> Option<String>) -> Config {
    let agent = root.required("agent", value::agent);
    let tenant = root.optional("tenant", name, "default".to_owned());
    let state_dir = root.optional("state_dir", path, PathBuf::from("/var/lib/rivulet"));
    let (source, on_unknown_names, on_statement) = source(root.section("source"), &agent, env);
    let uplink = uplink(root.section("uplink"));
    let mut log = root.section("log");
    let config = Config {
        source,
        on_unknown_names,
        on_statement,
        batch: batch(root.section("batch"), uplink.window_bytes),
        buffer: buffer(root.section("buffer"), state_dir.join("buffer.db")),
        uplink,
        telemetry: Telemetry::read(root.section("telemetry")),
        log: Log::read(&mut log),
        agent,
        tenant,
        state_dir,
    };
    log.finish();
    let (window, batch) = (config.uplink.window_bytes, config.batch.bytes_max);
    if window < batch {
        let text = format!(
            "`batch.bytes_max` ({batch} bytes) must not exceed `uplink.window_bytes` ({window} bytes)"
        );
        root.complain(1, text);
    }
    root.finish();
    config
}

fn source(
    mut section: Section<'_>,
    agent: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Source, UnknownNames, Statements) {
    let unknown = [("stop", UnknownNames::Stop), ("number", UnknownNames::Number)];
    let unknown = section.optional("on_unknown_names", choice(unknown), UnknownNames::Stop);
    let statements = [("stop", Statements::Stop), ("skip-and-report", Statements::SkipAndReport)];
    let statements = section.optional("on_statement", choice(statements), Statements::Stop);
    let files = section.optional("kind", choice([("live", false), ("files", true)]), false);
    let (others, why): (&[_], _) = if files {
        (&LIVE_KEYS, "is a setting of `kind = \"live\"`, and this source reads files")
    } else {
        (&FILES_KEYS, "is a setting of `kind = \"files\"`, and this source is a live server")
    };
    for key in others {
        section.refuse(key, why);
    }
    section.refuse("password", PASSWORD_REFUSED);
    let source = if files {
        Source::Files(Files {
            path: section.required("path", path),
            index: section.maybe("index", path),
            follow: section.optional("follow", flag, true),
        })
    } else {
        Source::Live(live(&mut section, agent, env))
    };
    section.finish();
    (source, unknown, statements)
}

fn live(section: &mut Section<'_>, agent: &str, env: &dyn Fn(&str) -> Option<String>) -> Live {
    let starts = [("earliest", Start::Earliest), ("latest", Start::Latest)];
    let address = address(section);
    let (tls, ca) = tls(section, &address);
    Live {
        address,
        user: section.required("user", plain),
        password: section.password(env),
        server_id: section.optional("server_id", integer(1..=u32::MAX), replica_id(agent)),
        tls,
        ca,
        allow_public_key_retrieval: section.optional("allow_public_key_retrieval", flag, false),
        heartbeat: section.optional("heartbeat", duration(s(1)..=s(30)), s(15)),
        start: section.optional("start", choice(starts), Start::Earliest),
    }
}

fn address(section: &mut Section<'_>) -> Address {
    if let Some(socket) = section.maybe("socket", path) {
        for key in ["host", "port"] {
            section.refuse(key, "and `source.socket` exclude each other");
        }
        return Address::Socket(socket);
    }
    if !section.has("host") {
        section.missing("host", ", or `source.socket` for a server on this machine");
    }
    let host = section.optional("host", host, String::new());
    let port = section.optional("port", integer(1..=65_535), 3306);
    Address::Tcp { host, port: port as u16 }
}

fn tls(section: &mut Section<'_>, address: &Address) -> (Tls, Option<PathBuf>) {
    if matches!(address, Address::Socket(_)) {
        for key in ["tls", "ca"] {
            section
                .refuse(key, "has no meaning for a local socket, which leaves the machine never");
        }
        return (Tls::Disabled, None);
    }
    let kinds =
        [("required", Tls::Required), ("verify-ca", Tls::VerifyCa), ("disabled", Tls::Disabled)];
    let tls = section.optional("tls", choice(kinds), Tls::Required);
    if tls == Tls::Disabled {
        section.refuse("ca", "has no meaning with `tls = \"disabled\"`");
    } else if !section.has("ca") {
        section.missing("ca", ": who signed the server's certificate?");
    }
    (tls, section.maybe("ca", path))
}

fn batch(mut section: Section<'_>, window_bytes: u64) -> Batch {
    let bytes_max = window_bytes.min(256 * KIB);
    let batch = Batch {
        bytes_max: section.optional("bytes_max", size(4 * KIB..=4 * MIB), bytes_max),
        rows_max: section.optional("rows_max", integer(1..=1_000_000), 16_384),
        age_max: section.optional("age_max", duration(ms(1)..=s(60)), ms(20)),
        zstd_level: section.optional("zstd_level", integer(1..=4), 1),
    };
    section.finish();
    batch
}

fn buffer(mut section: Section<'_>, default_path: PathBuf) -> Buffer {
    let kinds = [("normal", Durability::Normal), ("strict", Durability::Strict)];
    let gaps = [("stop", Gaps::Stop), ("skip-and-report", Gaps::SkipAndReport)];
    let buffer = Buffer {
        path: section.optional("path", path, default_path),
        bytes_max: section.optional("bytes_max", size(16 * MIB..=MIB * MIB), 512 * MIB),
        durability: section.optional("durability", choice(kinds), Durability::Normal),
        on_gap: section.optional("on_gap", choice(gaps), Gaps::Stop),
    };
    section.finish();
    buffer
}

/// The endpoints, and whether those without TLS may be used.
fn remotes(section: &mut Section<'_>) -> Vec<Remote> {
    let line = section.line_of("endpoint");
    let found = section.required("endpoint", endpoints);
    if section.optional("allow_plaintext", flag, false) {
        // They were asked for.
    } else if let Some((_, host, _)) = found
        .iter()
        .find(|(carrier, host, _)| *carrier == Carrier::Plain && !value::is_loopback(host))
    {
        let text = format!(
            "`uplink.endpoint`: mqtt:// to {host} is in the clear; use mqtts://, or say \
             `allow_plaintext = true`"
        );
        section.complain(line, text);
    }
    let remote = |(carrier, host, port)| Remote { carrier, host, port };
    found.into_iter().map(remote).collect()
}

fn uplink(mut section: Section<'_>) -> Uplink {
    let kinds =
        [("cubic", Congestion::Cubic), ("bbr", Congestion::Bbr), ("newreno", Congestion::NewReno)];
    let idle_line = section.line_of("idle_timeout");
    let endpoints = remotes(&mut section);
    let uplink = Uplink {
        endpoints,
        server_name: section.maybe("server_name", host),
        ca: section.required("ca", path),
        certificate: section.required("certificate", path),
        key: section.required("key", path),
        window_bytes: section.optional("window_bytes", size(64 * KIB..=64 * MIB), MIB),
        window_packets: section.optional("window_packets", integer(1..=65_535), 256) as u16,
        packet_bytes_max: section.optional(
            "packet_bytes_max",
            size(KIB..=256 * MIB - 1),
            128 * KIB,
        ),
        keep_alive: section.optional("keep_alive", duration(s(1)..=s(60)), s(5)),
        idle_timeout: section.optional("idle_timeout", duration(s(3)..=s(300)), s(15)),
        congestion: section.optional("congestion", choice(kinds), Congestion::Cubic),
        dial_timeout: section.optional("dial_timeout", duration(ms(100)..=s(60)), s(4)),
        probe_every: section.optional("probe_every", duration(s(1)..=s(86_400)), s(30)),
        silence_max: section.optional("silence_max", duration(s(1)..=s(3600)), s(30)),
        send_window: section.optional("send_window", size(16 * KIB..=64 * MIB), MIB),
        segmentation_offload: section.optional("segmentation_offload", flag, true),
        early_data: section.optional("early_data", flag, true),
        budget: Budget {
            second: section.maybe("bytes_per_second", size(1000..=GIB)),
            hour: section.maybe("bytes_per_hour", size(100_000..=1000 * GIB)),
            day: section.maybe("bytes_per_day", size(100_000..=1000 * GIB)),
        },
    };
    if uplink.idle_timeout < 2 * uplink.keep_alive {
        let text = "`uplink.idle_timeout` must be at least twice `uplink.keep_alive`";
        section.complain(idle_line, text.to_owned());
    }
    section.finish();
    uplink
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const LIVE_KEYS: [&str; 12] = [
    "host",
    "port",
    "socket",
    "user",
    "password_file",
    "password_env",
    "server_id",
    "tls",
    "ca",
    "allow_public_key_retrieval",
    "heartbeat",
    "start",
];

const FILES_KEYS: [&str; 3] = ["path", "index", "follow"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use crate::config::secret::Secret;

    const SAMPLE: &str = include_str!("../../configs/agent.toml");

    const LEAST: &str = "agent = \"edge-17\"\n\
         [source]\nhost = \"db\"\nuser = \"repl\"\nca = \"db-ca.pem\"\n\
         [uplink]\nendpoint = \"quic://centre\"\nca = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(text, &|name| (name == "DB_PASSWORD").then(|| "hunter2".to_owned()))
    }

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let text = r#"agent = "edge/17"
tennant = "north"

[source]
kind = "live"
host = "db:3306"
port = 70000
password = "hunter2"
tls = "off"
follow = true
ca = 5

[batch]
bytes_max = "64"
age_max = "1h"
rows_max = "many"

[bufer]
path = "x"

[uplink]
endpoint = "mqtt://x"
keep_alive = "10s"
certificate = ""
"#;
        assert_eq!(
            problems(text),
            [
                r#"line 1: `agent` is "edge/17", must be 1 to 63 of a-z, 0-9 and `-`, with no `-` first or last"#,
                "line 2: `tennant` is not a setting; did you mean `tenant`?",
                "line 4: `source.user` is missing",
                r#"line 6: `source.host` is "db:3306", must be a host's name or address, without a port"#,
                "line 7: `source.port` is 70000, must be from 1 to 65535",
                "line 8: `source.password` is refused: this file is shown, copied and backed up. Name a private \
                 file with `password_file` or an environment variable with `password_env`",
                r#"line 9: `source.tls` is "off", must be "required", "verify-ca" or "disabled""#,
                r#"line 10: `source.follow` is a setting of `kind = "files"`, and this source is a live server"#,
                "line 11: `source.ca` is 5, must be a path in quotes",
                r#"line 14: `batch.bytes_max` is "64", must be a size such as "64KiB", "256MB" or "2GiB""#,
                r#"line 15: `batch.age_max` is "1h", must be from 1ms to 1min"#,
                r#"line 16: `batch.rows_max` is "many", must be a whole number"#,
                "line 18: `bufer` is not a setting; did you mean `buffer`?",
                "line 21: `uplink.ca` is missing",
                "line 21: `uplink.key` is missing",
                "line 21: `uplink.idle_timeout` must be at least twice `uplink.keep_alive`",
                "line 22: `uplink.endpoint`: mqtt:// to x is in the clear; use mqtts://, or say \
                 `allow_plaintext = true`",
                "line 24: `uplink.certificate` must be a path, not empty",
            ]
        );
    }

    #[test]
    fn mistakes_of_syntax_are_all_told_first() {
        let found = problems("agent = edge\nagent = \"b\"\n[source\nhost = \"x\"\n");
        let lines: Vec<&str> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert!(lines.contains(&"line 1") && lines.contains(&"line 3"), "{found:?}");
    }

    #[test]
    fn an_empty_file_says_what_is_needed() {
        assert_eq!(
            problems(""),
            [
                "line 1: `agent` is missing",
                "line 1: `source.host` is missing, or `source.socket` for a server on this machine",
                "line 1: `source.ca` is missing: who signed the server's certificate?",
                "line 1: `source.user` is missing",
                "line 1: `uplink.endpoint` is missing",
                "line 1: `uplink.ca` is missing",
                "line 1: `uplink.certificate` is missing",
                "line 1: `uplink.key` is missing",
            ]
        );
    }

    #[test]
    fn passwords_are_never_shown() {
        let literal = LEAST.replace("user =", "password = \"hunter2\"\nuser =");
        assert!(!format!("{:?}", problems(&literal)).contains("hunter2"));
        let named = LEAST.replace("user =", "password_env = \"DB_PASSWORD\"\nuser =");
        let config = parse(&named).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let Source::Live(live) = config.source else { panic!("a live source") };
        assert_eq!(live.password, Password::Given(Secret::new("hunter2")));
        let absent = LEAST.replace("user =", "password_env = \"NONE\"\nuser =");
        assert_eq!(
            problems(&absent),
            ["line 4: `source.password_env` names the environment variable NONE, which is not set"]
        );
    }

    #[test]
    fn a_socket_needs_neither_tls_nor_ca() {
        let socket = LEAST.replace("host = \"db\"", "socket = \"/run/mysqld/mysqld.sock\"");
        assert_eq!(
            problems(&socket),
            [
                "line 5: `source.ca` has no meaning for a local socket, which leaves the machine never"
            ]
        );
        let config = parse(&socket.replace("ca = \"db-ca.pem\"\n", "")).unwrap();
        let Source::Live(live) = config.source else { panic!("a live source") };
        assert_eq!(live.address, Address::Socket("/run/mysqld/mysqld.sock".into()));
        assert_eq!((live.tls, live.ca), (Tls::Disabled, None));
    }

    #[test]
    fn files_have_settings_of_their_own() {
        let text = LEAST.replace(
            "host = \"db\"\nuser = \"repl\"\nca = \"db-ca.pem\"",
            "kind = \"files\"\npath = \"/logs\"\nfollow = false\non_unknown_names = \"number\"\non_statement = \"skip-and-report\"",
        );
        let config = parse(&text).unwrap();
        let files = Files { path: "/logs".into(), index: None, follow: false };
        assert_eq!(config.source, Source::Files(files));
        assert_eq!(config.on_unknown_names, UnknownNames::Number);
        assert_eq!(config.on_statement, Statements::SkipAndReport);
        assert_eq!(parse(LEAST).unwrap().on_statement, Statements::Stop);
    }

    #[test]
    fn a_batch_fits_into_the_window() {
        let narrow = format!("{LEAST}window_bytes = \"64KiB\"\n");
        assert_eq!(parse(&narrow).unwrap().batch.bytes_max, 64 * KIB);
        let text = format!("{narrow}[batch]\nbytes_max = \"128KiB\"\n");
        assert_eq!(
            problems(&text),
            [
                "line 1: `batch.bytes_max` (131072 bytes) must not exceed `uplink.window_bytes` (65536 bytes)"
            ]
        );
    }

    #[test]
    fn endpoints_are_a_list_and_those_in_the_clear_are_for_this_machine() {
        let with = |endpoint: &str| parse(&LEAST.replace("\"quic://centre\"", endpoint));
        let both = with(r#"["quic://centre", "mqtts://centre:443"]"#).unwrap().uplink.endpoints;
        let remote = |carrier, port| Remote { carrier, host: "centre".to_owned(), port };
        assert_eq!(both, [remote(Carrier::Quic, 14567), remote(Carrier::Tls, 443)]);
        assert!(with(r#"["quic://centre", "mqtt://localhost"]"#).is_ok());
        assert!(with(r#"["quic://centre", "mqtt://centre"]"#).is_err());
        assert!(with("[\"mqtt://centre\"]\nallow_plaintext = true").is_ok());
        for wrong in ["[]", "[5]", r#"["quic://centre", "quic://centre:14567"]"#] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        let budget = format!("{LEAST}bytes_per_hour = \"2MB\"\n");
        let budget = parse(&budget).unwrap().uplink.budget;
        assert_eq!(budget, Budget { hour: Some(2_000_000), ..Budget::default() });
    }

    #[test]
    fn replica_ids_are_high_and_depend_on_the_name() {
        assert_ne!(replica_id("edge-17"), replica_id("edge-18"));
        for name in ["", "edge-17", "Æ"] {
            assert!((3_000_000_000..4_000_000_000).contains(&replica_id(name)));
        }
    }

    #[test]
    fn the_sample_shows_the_defaults() {
        let bare = parse(SAMPLE).unwrap();
        let full = super::super::uncommented(SAMPLE);
        assert!(full.contains("\nzstd_level = 1\n"));
        assert_eq!(bare, parse(&full).unwrap());
        assert_eq!(bare.log.format, LogFormat::Text);
    }

    #[test]
    fn the_sample_names_every_key() {
        let keys = ["kind", "on_unknown_names", "agent", "tenant", "state_dir", "zstd_level"];
        let more = ["bytes_max", "rows_max", "age_max", "durability", "endpoint", "server_name"];
        let rest = ["certificate", "key", "window_bytes", "window_packets", "keep_alive"];
        let last = [
            "on_statement",
            "on_gap",
            "idle_timeout",
            "congestion",
            "dial_timeout",
            "format",
            "level",
        ];
        let link = ["allow_plaintext", "probe_every", "silence_max", "send_window", "early_data"];
        let rest = [&rest[..], &["packet_bytes_max"]].concat();
        let budget =
            ["segmentation_offload", "bytes_per_second", "bytes_per_hour", "bytes_per_day"];
        let all =
            [&keys[..], &more, &rest, &last, &link, &budget, &LIVE_KEYS, &FILES_KEYS].concat();
        for key in all {
            assert!(SAMPLE.contains(&format!("{key} = ")), "{key}");
        }
    }
}
