//! The whole way from a server to a file: keys, collector and agent in one temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::broker::Broker;
use super::process::{COLLECTOR, Process, RIVULET, run};
use super::relay::{TcpRelay, UdpRelay};
use super::server::{Server, free_port};

/// The agent's name.
pub const AGENT: &str = "edge-1";
/// The collector's name at a broker.
pub const CENTRE: &str = "centre-1";
/// What the agent's `[uplink]` says so that a lost link is noticed soon.
const SOON: &str = "keep_alive = \"1s\"\nidle_timeout = \"4s\"\ndial_timeout = \"2s\"\n";
/// What the clock calls old is forgotten soon.
const JOURNAL: &str = "[journal]\nage_max = \"1h\"\n";

/// Both ends with their keys and configurations. Dropping it ends both and removes everything.
pub struct Pipeline {
    folder: tempfile::TempDir,
    /// What runs agent and collector: a program that becomes them, with its arguments.
    pub runners: [Vec<String>; 2],
    agent: Option<Process>,
    collector: Option<Process>,
}

impl Pipeline {
    /// Makes keys and configurations; nothing runs yet. `buffer_bytes_max` is the agent's.
    pub fn new(server: &Server, buffer_bytes_max: &str) -> Self {
        Self::of_server(server, &in_the_clear(server), buffer_bytes_max)
    }

    /// The same with relays between server and agent, and between agent and collector. Lost links are
    /// noticed soon, and what the clock calls old is forgotten.
    pub fn through(server: &Server, source: &TcpRelay, seed: u64) -> (Self, UdpRelay) {
        let (pipeline, port) = (Self::empty(), free_port());
        let relay = UdpRelay::start(port, seed);
        let source = pipeline.live_source(server, source.port) + &in_the_clear(server);
        let agent = pipeline.agent_config(&source, &format!("127.0.0.1:{}", relay.port), "16MiB");
        let collector = pipeline.collector_config(&format!("127.0.0.1:{port}"));
        pipeline.write_configs(&(agent + SOON), &(collector + JOURNAL));
        (pipeline, relay)
    }

    /// The same with a broker between agent and collector that keeps what is retained, and relays on either
    /// side of it. Large rows leave in fragments.
    pub fn through_broker(server: &Server, source: &TcpRelay) -> (Self, Broker, [TcpRelay; 2]) {
        let pipeline = Self::with_keys();
        let broker = Broker::start_keeping(&pipeline.path("pki"), 100_000);
        let relays = [(); 2].map(|()| TcpRelay::start(broker.tls_port));
        let ends = [0, 1].map(|end: usize| format!("mqtts://127.0.0.1:{}", relays[end].port));
        let source = pipeline.live_source(server, source.port) + &in_the_clear(server);
        let (agent, collector) = pipeline.configs_at_broker(&source, "16MiB", &ends, "");
        pipeline.write_configs(&(agent + SOON), &(collector + JOURNAL));
        (pipeline, broker, relays)
    }

    /// The same with the lines of the agent's configuration that say how the connection is secured.
    pub fn of_server(server: &Server, security: &str, buffer_bytes_max: &str) -> Self {
        let pipeline = Self::empty();
        let source = pipeline.live_source(server, server.port) + security;
        pipeline.configure(&source, buffer_bytes_max);
        pipeline
    }

    /// The same with a binlog file as the agent's source.
    pub fn of_file(file: &Path) -> Self {
        let pipeline = Self::empty();
        pipeline.configure(&format!("kind = \"files\"\npath = {file:?}\nfollow = true\n"), "64MiB");
        pipeline
    }

    /// Agent and collector each in a network namespace; the collector listens on `address`, and `more` are
    /// further lines of the agent's `[uplink]`.
    pub fn between(server: &Server, namespaces: [&str; 2], address: &str, more: &str) -> Self {
        let mut pipeline = Self::empty();
        pipeline.runners =
            namespaces.map(|name| ["ip", "netns", "exec", name].map(str::to_owned).to_vec());
        let (user, _) = server.replica_user();
        let source = format!(
            "socket = {:?}\nuser = \"{user}\"\npassword_file = {:?}\n",
            server.socket(),
            pipeline.password(server)
        );
        let address = format!("{address}:14567");
        let both = format!("endpoint = [\"quic://{address}\", \"mqtts://{address}\"]");
        let agent = pipeline
            .agent_config(&source, &address, "512MiB")
            .replace(&format!("endpoint = \"quic://{address}\""), &both);
        let agent = agent + more;
        let collector = pipeline.collector_config(&address);
        pipeline.write_configs(&agent, &collector);
        pipeline
    }

    /// Both ends with their keys, and no configuration yet: see [`Self::meet_at_broker`].
    pub fn with_keys() -> Self {
        let pipeline = Self::empty();
        pipeline.issue(&["agent", CENTRE]);
        pipeline
    }

    /// Configures both ends to meet at a broker: the agent's endpoint, the collector's, and what else stands
    /// in the collector's section.
    pub fn meet_at_broker(&self, server: &Server, agent: &str, collector: &str, more: &str) {
        let source = self.live_source(server, server.port) + &in_the_clear(server);
        let ends = [agent, collector].map(str::to_owned);
        let (agent, collector) = self.configs_at_broker(&source, "256MiB", &ends, more);
        self.write_configs(&agent, &collector);
    }

    fn configs_at_broker(
        &self,
        source: &str,
        buffer_bytes_max: &str,
        [agent, collector]: &[String; 2],
        more: &str,
    ) -> (String, String) {
        let nowhere = "127.0.0.1:1";
        // A broker that forgets silently is noticed sooner than by default.
        let endpoint = format!("silence_max = \"5s\"\nendpoint = \"{agent}\"");
        let agent = self
            .agent_config(source, nowhere, buffer_bytes_max)
            .replace(&format!("endpoint = \"quic://{nowhere}\""), &endpoint);
        let pki = self.path("pki");
        let section = format!(
            "[broker]\nendpoint = \"{collector}\"\nserver_name = \"localhost\"\nca = {ca:?}\n\
             certificate = {certificate:?}\nkey = {key:?}\n{more}",
            ca = pki.join("ca.pem"),
            certificate = pki.join(format!("agents/{CENTRE}.pem")),
            key = pki.join(format!("agents/{CENTRE}.key")),
        );
        let direct = self.collector_config(nowhere);
        let (head, rest) = direct.split_once("[listen]").expect("a listener");
        let (_, sinks) = rest.split_once("[[sink]]").expect("a sink");
        (agent, format!("{head}{section}[[sink]]{sinks}"))
    }

    fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("rivulet-exam-").tempdir();
        let pipeline = Self {
            folder: folder.expect("a temporary folder"),
            runners: Default::default(),
            agent: None,
            collector: None,
        };
        for private in ["agent", "collector", "changes"] {
            let path = pipeline.path(private);
            fs::create_dir(&path).expect("a new folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
        }
        pipeline.make_keys();
        pipeline
    }

    fn configure(&self, source: &str, buffer_bytes_max: &str) {
        let address = format!("127.0.0.1:{}", free_port());
        let agent = self.agent_config(source, &address, buffer_bytes_max);
        self.write_configs(&agent, &self.collector_config(&address));
    }

    fn write_configs(&self, agent: &str, collector: &str) {
        fs::write(self.path("agent.toml"), agent).expect("a writable folder");
        fs::write(self.path("collector.toml"), collector).expect("a writable folder");
    }

    /// A path in the pipeline's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_keys(&self) {
        let wanted: [&[&str]; 3] =
            [&["init"], &["collector", "localhost", "127.0.0.1"], &["agent", AGENT]];
        for words in wanted {
            self.issue(words);
        }
    }

    fn issue(&self, words: &[&str]) {
        let pki = self.path("pki");
        let pki = pki.to_str().expect("a UTF-8 path");
        let all = [&["pki"], words, &["--dir", pki]].concat();
        let output = run(COLLECTOR, &all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{all:?}: {}: {said}", output.status);
    }

    fn live_source(&self, server: &Server, port: u16) -> String {
        let (user, _) = server.replica_user();
        let secret = self.password(server);
        format!(
            "host = \"127.0.0.1\"\n\
             port = {port}\n\
             user = \"{user}\"\n\
             password_file = {secret:?}\n"
        )
    }

    /// The file with the replica's password.
    fn password(&self, server: &Server) -> PathBuf {
        let secret = self.path("password");
        fs::write(&secret, server.replica_user().1).expect("a writable folder");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
        secret
    }

    fn agent_config(&self, source: &str, address: &str, buffer_bytes_max: &str) -> String {
        let pki = self.path("pki");
        format!(
            "agent = \"{AGENT}\"\n\
             state_dir = {state:?}\n\
             [source]\n\
             {source}\
             [buffer]\n\
             bytes_max = \"{buffer_bytes_max}\"\n\
             [uplink]\n\
             endpoint = \"quic://{address}\"\n\
             server_name = \"localhost\"\n\
             ca = {ca:?}\n\
             certificate = {certificate:?}\n\
             key = {key:?}\n",
            state = self.path("agent"),
            ca = pki.join("ca.pem"),
            certificate = pki.join(format!("agents/{AGENT}.pem")),
            key = pki.join(format!("agents/{AGENT}.key")),
        )
    }

    fn collector_config(&self, address: &str) -> String {
        let pki = self.path("pki");
        format!(
            "data_dir = {data:?}\n\
             [listen]\n\
             quic = \"{address}\"\n\
             tls = \"{address}\"\n\
             ca = {ca:?}\n\
             certificate = {certificate:?}\n\
             key = {key:?}\n\
             [[sink]]\n\
             name = \"changes\"\n\
             kind = \"file\"\n\
             directory = {changes:?}\n",
            data = self.path("collector"),
            ca = pki.join("ca.pem"),
            certificate = pki.join("collector.pem"),
            key = pki.join("collector.key"),
            changes = self.path("changes"),
        )
    }

    pub fn start_agent(&mut self) {
        let config = self.path("agent.toml");
        let arguments = ["agent", "--config", config.to_str().expect("a UTF-8 path")];
        let log = self.path("agent.log");
        self.agent = Some(Process::start_within(&self.within(0), RIVULET, &arguments, &log));
    }

    pub fn start_collector(&mut self) {
        let config = self.path("collector.toml");
        let arguments = ["serve", "--config", config.to_str().expect("a UTF-8 path")];
        let log = self.path("collector.log");
        self.collector = Some(Process::start_within(&self.within(1), COLLECTOR, &arguments, &log));
    }

    /// What runs the agent (0) or the collector (1).
    fn within(&self, end: usize) -> Vec<&str> {
        self.runners[end].iter().map(String::as_str).collect()
    }

    /// Panics if it was not started.
    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("the agent was started")
    }

    /// Panics if it was not started.
    pub fn collector(&mut self) -> &mut Process {
        self.collector.as_mut().expect("the collector was started")
    }

    /// All that the file sink has written, oldest first; a line that is not whole is left out.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for file in sink_files(&self.path("changes")) {
            let bytes = fs::read(&file).expect("a file of the sink");
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            text.push_str(std::str::from_utf8(&bytes[..whole]).expect("the sink writes UTF-8"));
        }
        text
    }

    /// What both have said last, for an exam that failed.
    pub fn said(&self) -> String {
        let said = |process: &Option<Process>| process.as_ref().map(Process::said);
        let (agent, collector) = (said(&self.agent), said(&self.collector));
        format!(
            "agent: {}\ncollector: {}",
            agent.unwrap_or_default(),
            collector.unwrap_or_default()
        )
    }
}

/// The lines that say that the connection to the server is not encrypted.
fn in_the_clear(server: &Server) -> String {
    let retrieval = "allow_public_key_retrieval = true\n";
    let key = if server.flavour.is_mysql() { retrieval } else { "" };
    format!("tls = \"disabled\"\n{key}")
}

/// The sink's files in the order in which they were written: their names sort so.
pub fn sink_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the sink's folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl" || it == "json"))
        .collect();
    files.sort();
    files
}
