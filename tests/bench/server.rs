//! SHELL: a real server of its own.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which server, as `tests/servers.sh` calls them.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Flavour {
    Mariadb,
    Mysql,
}

impl Flavour {
    /// For `tests/servers.sh`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb1011",
            Self::Mysql => "mysql",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Mariadb => "MariaDB 10.11",
            Self::Mysql => "MySQL 9.7",
        }
    }

    /// The setting that compresses the log.
    pub(crate) fn compression(self) -> &'static [&'static str] {
        match self {
            Self::Mariadb => &["--log-bin-compress=ON", "--log-bin-compress-min-len=10"],
            Self::Mysql => &["--binlog-transaction-compression=ON"],
        }
    }
}

/// A running server; stopped when it is dropped.
pub(crate) struct Server {
    name: String,
    data: PathBuf,
    root: PathBuf,
}

impl Server {
    /// A new, empty server whose log names its columns.
    pub(crate) fn start(flavour: Flavour, settings: &[&str]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = std::env::var_os("SERVERS_ROOT").map(PathBuf::from);
        let root = root.unwrap_or_else(|| here.join("target/servers"));
        let (name, data) = (format!("{}:bench", flavour.name()), here.join("target/bench/server"));
        let server = Self { name, data, root };
        let _ = fs::remove_dir_all(&server.data);
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (35000..35100).find(free).expect("a port is free").to_string();
        server.script(&["fetch", flavour.name()]);
        let data = server.data.to_str().expect("the path is text");
        let log = ["--binlog-row-metadata=FULL", "--max-binlog-size=1G", "--tmpdir=/tmp"];
        server.script(&[&["start", &server.name, &port, data][..], &log, settings].concat());
        server
    }

    /// The file of its log that it writes.
    pub(crate) fn log(&self) -> PathBuf {
        let index = fs::read_to_string(self.data.join("binlog.index"));
        let index = index.expect("the server keeps an index of its log");
        let last = index.lines().last().expect("it names the file that is written");
        self.data.join(last.trim_start_matches("./"))
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let name = fs::read_to_string(self.root.join("run").join(&self.name).join("sock"));
        PathBuf::from(name.expect("a running server has a socket").trim())
    }

    /// Feeds a client until `next` has no more; statements that fail end the program.
    pub(crate) fn feed(&self, mut next: impl FnMut() -> Option<String>) {
        let mut client = self.command(&["sql", &self.name, "--quick"]);
        let mut client = client.stdin(Stdio::piped()).spawn().expect("the client starts");
        let mut pipe = client.stdin.take().expect("it is piped");
        while let Some(sql) = next() {
            pipe.write_all(sql.as_bytes()).expect("the client reads");
        }
        drop(pipe);
        assert!(client.wait().expect("the client ends").success(), "a statement failed");
    }

    /// Runs some statements.
    pub(crate) fn sql(&self, sql: &str) {
        let mut sql = Some(sql.to_owned());
        self.feed(|| sql.take());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
        let mut command = Command::new(script);
        command.env("SERVERS_ROOT", &self.root).args(arguments).stdout(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) {
        let status = self.command(arguments).status().expect("servers.sh runs");
        assert!(status.success(), "servers.sh {arguments:?} failed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.command(&["stop", &self.name]).status();
    }
}
