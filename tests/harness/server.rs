//! A private MySQL or MariaDB server in a temporary folder, through `tests/servers.sh`.

use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::session::{Row, Session, SqlError};

/// Which server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    Mysql,
    Mariadb1011,
    Mariadb118,
}

impl Flavour {
    pub const ALL: [Self; 3] = [Self::Mysql, Self::Mariadb1011, Self::Mariadb118];

    /// The flavours that `SERVERS` names; all if it is not set. An unknown name is an error.
    pub fn chosen() -> Vec<Self> {
        let Ok(names) = std::env::var("SERVERS") else { return Self::ALL.to_vec() };
        let chosen: Vec<_> = names
            .split_whitespace()
            .map(|name| Self::named(name).unwrap_or_else(|| panic!("SERVERS: no server `{name}`")))
            .collect();
        assert!(!chosen.is_empty(), "SERVERS is set and names no server");
        chosen
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb1011 => "mariadb1011",
            Self::Mariadb118 => "mariadb118",
        }
    }

    pub fn is_mysql(self) -> bool {
        self == Self::Mysql
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running server. Dropping it kills it and removes its data.
pub struct Server {
    pub flavour: Flavour,
    pub port: u16,
    name: String,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    admin: Mutex<Option<Session>>,
}

impl Server {
    /// Fetches the flavour if need be and starts a server of it. Panics with the script's words.
    pub fn start(flavour: Flavour, arguments: &[&str]) -> Self {
        Self::try_start(flavour, arguments).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// As [`Self::start`], for callers that know what to do without a server.
    pub fn try_start(flavour: Flavour, arguments: &[&str]) -> Result<Self, String> {
        let server = Self::new(flavour, arguments)?;
        server.run()?;
        Ok(server)
    }

    /// As [`Self::start`], and the binlogs are encrypted with keys of its own.
    pub fn start_encrypted(flavour: Flavour) -> Self {
        let mut server = Self::new(flavour, &[]).unwrap_or_else(|problem| panic!("{problem}"));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("the folder is ours");
        let data = server.data();
        let keys = server.folder().join("keys");
        if flavour.is_mysql() {
            fs::create_dir(&data).expect("the folder is ours");
            let settings = format!("{{\"path\": {keys:?}, \"read_only\": false}}");
            let component = "component_keyring_file";
            let components = format!("{{\"components\": \"file://{component}\"}}");
            write(&data.join("mysqld.my"), &components);
            write(&data.join(format!("{component}.cnf")), &settings);
            server.arguments.push("--binlog-encryption=ON".to_owned());
        } else {
            write(&keys, &format!("1;{}\n", "a7addd9adea9978f".repeat(4)));
            server.arguments = vec![
                "--plugin-load-add=file_key_management".to_owned(),
                format!("--file-key-management-filename={}", keys.display()),
                "--encrypt-binlog=ON".to_owned(),
            ];
        }
        server.run().unwrap_or_else(|problem| panic!("{problem}"));
        server
    }

    fn new(flavour: Flavour, arguments: &[&str]) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        checked(&["fetch", flavour.name()])?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            flavour,
            port: free_port(),
            name: format!("{flavour}:exam{}x{number}", std::process::id()),
            folder: tempfile::Builder::new()
                .prefix("rivulet-server-")
                .tempdir()
                .map_err(|error| format!("no temporary folder: {error}"))?,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            admin: Mutex::new(None),
        })
    }

    fn run(&self) -> Result<(), String> {
        let (port, data) = (self.port.to_string(), self.data());
        let mut all = vec!["start", &self.name, &port, data.to_str().expect("a UTF-8 path")];
        // Small, so that many exams fit on a small machine.
        all.extend(["--innodb-buffer-pool-size=32M", "--performance-schema=OFF"]);
        all.extend(["--max-connections=40", "--binlog-row-metadata=FULL"]);
        all.extend(self.arguments.iter().map(String::as_str));
        checked(&all).map(drop)
    }

    /// The folder that holds the binlogs.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        let root = std::env::var_os("SERVERS_ROOT").map(PathBuf::from);
        let root =
            root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"));
        let socket = fs::read_to_string(root.join("run").join(&self.name).join("sock"));
        PathBuf::from(socket.expect("a running server has a socket").trim())
    }

    /// A folder that the server may write files into, gone with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One statement on the administrator's connection; panics if it fails.
    pub fn sql(&self, statement: &str) -> Vec<Row> {
        self.try_sql(statement)
            .unwrap_or_else(|error| panic!("{}: {statement}: {error}", self.name))
    }

    pub fn try_sql(&self, statement: &str) -> Result<Vec<Row>, SqlError> {
        let mut admin = self.admin.lock().expect("no exam panics while it holds the connection");
        admin.get_or_insert_with(|| self.session()).run(statement)
    }

    /// The first column of the first row.
    pub fn value(&self, query: &str) -> String {
        let rows = self.sql(query);
        let cell = rows.first().and_then(|row| row.first());
        cell.unwrap_or_else(|| panic!("{query}: no row")).clone()
    }

    /// A connection of its own, in UTF-8.
    pub fn session(&self) -> Session {
        Session::open(&self.name, "utf8mb4")
    }

    /// A connection of its own whose client speaks another character set.
    pub fn session_in(&self, charset: &str) -> Session {
        Session::open(&self.name, charset)
    }

    /// Statements on a connection of their own, whatever becomes of it: the server may be killed.
    pub fn client(&self, statements: &str) -> Output {
        script(&["sql", &self.name, "-e", statements])
    }

    /// Forgets all binlogs and begins with the first.
    pub fn reset_logs(&self) {
        self.sql(if self.flavour.is_mysql() {
            "reset binary logs and gtids"
        } else {
            "reset master"
        });
    }

    /// Closes the current binlog and gives the paths of all that are complete, oldest first.
    pub fn closed_logs(&self) -> Vec<PathBuf> {
        self.sql("flush binary logs");
        let mut names = self.sql("show binary logs");
        names.pop();
        names.iter().map(|row| self.data().join(&row[0])).collect()
    }

    /// What the server's own decoder says of these files (`-vv`), as bytes: strings in them have
    /// the column's character set. An error if the decoder fails.
    pub fn binlog_text(&self, files: &[PathBuf]) -> Result<Vec<u8>, String> {
        let mut arguments = vec!["binlog", self.flavour.name(), "-vv"];
        arguments.push("--base64-output=decode-rows");
        arguments.extend(files.iter().map(|file| file.to_str().expect("a UTF-8 path")));
        let output = script(&arguments);
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The MySQL or MariaDB user that an agent logs in as, made on the first call.
    pub fn replica_user(&self) -> (&'static str, &'static str) {
        let (user, password) = ("rivulet", "Drop-by-drop-1");
        self.sql("set sql_log_bin=0");
        self.sql(&format!("create user if not exists {user}@'%' identified by '{password}'"));
        let admin = if self.flavour.is_mysql() { "REPLICATION CLIENT" } else { "BINLOG MONITOR" };
        self.sql(&format!("grant select, REPLICATION SLAVE, {admin} on *.* to {user}@'%'"));
        self.sql("set sql_log_bin=1");
        (user, password)
    }

    /// kill -9.
    pub fn kill(&self) {
        *self.admin.lock().expect("no exam panics while it holds the connection") = None;
        checked(&["kill", &self.name]).unwrap_or_else(|problem| panic!("{problem}"));
    }

    /// Starts it again after [`Self::kill`], on its data and its port.
    pub fn restart(&self) {
        self.run().unwrap_or_else(|problem| panic!("{problem}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut admin) = self.admin.lock() {
            *admin = None;
        }
        script(&["kill", &self.name]);
        script(&["forget", &self.name]);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// `servers.sh` with these arguments.
pub fn script(arguments: &[&str]) -> Output {
    let path = script_path();
    let mut command = Command::new(&path);
    command.args(arguments).env("OWNER_PID", std::process::id().to_string()).process_group(0);
    command.output().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn script_path() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
    assert!(fs::exists(&path).unwrap_or(false), "{} is missing", path.display());
    path
}

fn checked(arguments: &[&str]) -> Result<Output, String> {
    let output = script(arguments);
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Err(format!("servers.sh {}: {}", arguments.join(" "), String::from_utf8_lossy(&said)))
}
