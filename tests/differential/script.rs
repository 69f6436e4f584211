//! The cases: SQL with a few marks of our own.
//!
//! A file under `tests/cases/` is a first line that says what the case shows, then statements, each
//! ended by `;` at the end of a line. A line that begins with `--@ ` steers:
//!
//! | mark | means |
//! |---|---|
//! | `only FLAVOUR…` | the case exists on these servers only |
//! | `metadata default` | the server's own `binlog_row_metadata`, not FULL |
//! | `on FLAVOUR…` or `on all` | what follows is for these servers |
//! | `as NAME [in CHARSET]` | what follows runs on this connection; the first is `main` |
//! | `close NAME` | the connection ends |
//! | `fails CODE` | the next statement must fail with this error |
//! | `global NAME=VALUE` | a global variable, restored after the case; `main` connects again |
//! | `reset` | all binlogs so far are forgotten |
//! | `gtid off` | MySQL without GTIDs, restored after the case |
//!
//! `{dir}` in a statement is a folder that the server can write into.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::generated;
use crate::harness::server::{Flavour, Server};
use crate::harness::session::Session;

/// One case as one flavour runs it.
pub struct Script {
    pub name: String,
    pub metadata_full: bool,
    steps: Vec<Step>,
    /// Each connection's character set.
    charsets: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Run { connection: usize, statement: String, fails: Option<u32> },
    Close(usize),
    Global { name: String, value: String },
    Reset,
    GtidOff,
}

/// All cases of a flavour, by name.
pub fn all(flavour: Flavour) -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(&folder).expect("tests/cases is there") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        texts.insert(name, fs::read_to_string(&path).expect("cases are UTF-8"));
    }
    texts.extend(generated::all().map(|(name, text)| (name.to_owned(), text)));
    texts.iter().filter_map(|(name, text)| Script::parse(name, text, flavour)).collect()
}

impl Script {
    /// `None` if the case is not for this flavour.
    fn parse(name: &str, text: &str, flavour: Flavour) -> Option<Self> {
        let mut reader = Reader::new(name, flavour);
        for line in text.lines().skip(1) {
            match line.strip_prefix("--@ ") {
                Some(mark) => reader.mark(mark),
                None => reader.line(line),
            }
        }
        let rest = reader.statement.trim();
        assert!(rest.is_empty(), "{name}: a statement without an end: {rest}");
        let charsets = reader.connections.0.into_iter().map(|(_, charset)| charset).collect();
        reader.script.charsets = charsets;
        reader.exists.then_some(reader.script)
    }

    /// Runs it on an empty server whose logs begin with it, and puts the variables back.
    pub fn run(&self, server: &Server) {
        let mut run = Run::new(self, server);
        for step in &self.steps {
            run.step(step);
        }
        run.restore();
    }
}

/// What a script's lines have said so far.
struct Reader<'a> {
    flavour: Flavour,
    name: &'a str,
    script: Script,
    connections: Connections,
    exists: bool,
    here: bool,
    connection: usize,
    fails: Option<u32>,
    statement: String,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str, flavour: Flavour) -> Self {
        let script = Script {
            name: name.to_owned(),
            metadata_full: true,
            steps: Vec::new(),
            charsets: Vec::new(),
        };
        Self {
            flavour,
            name,
            script,
            connections: Connections(vec![("main".to_owned(), "utf8mb4".to_owned())]),
            exists: true,
            here: true,
            connection: 0,
            fails: None,
            statement: String::new(),
        }
    }

    fn line(&mut self, line: &str) {
        self.statement.push_str(line);
        self.statement.push('\n');
        if let Some(whole) = self.statement.trim_end().strip_suffix(';') {
            let (connection, fails) = (self.connection, self.fails.take());
            let statement = whole.to_owned();
            self.statement.clear();
            self.push(Step::Run { connection, statement, fails });
        }
    }

    fn mark(&mut self, mark: &str) {
        let name = self.name;
        assert!(self.statement.trim().is_empty(), "{name}: a mark inside a statement: {mark}");
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("only", list) => self.exists = self.named(list),
            ("metadata", "default") => self.script.metadata_full = false,
            ("on", list) => self.here = self.named(list),
            ("as", who) => {
                let (who, charset) = who.split_once(" in ").unwrap_or((who, "utf8mb4"));
                self.connection = self.connections.index(who, charset);
            }
            ("close", who) => {
                let connection = self.connections.index(who, "utf8mb4");
                self.push(Step::Close(connection));
            }
            ("fails", code) => self.fails = Some(code.parse().expect("an error's number")),
            ("global", setting) => {
                let (name, value) = setting.split_once('=').expect("NAME=VALUE");
                self.push(Step::Global { name: name.to_owned(), value: value.to_owned() });
            }
            ("reset", "") => self.push(Step::Reset),
            ("gtid", "off") => self.push(Step::GtidOff),
            _ => panic!("{name}: unknown mark: {mark}"),
        }
    }

    fn named(&self, list: &str) -> bool {
        list == "all" || list.split(' ').any(|it| it == self.flavour.name())
    }

    fn push(&mut self, step: Step) {
        if self.here {
            self.script.steps.push(step);
        }
    }
}

/// The connections of a case: what the script calls them, and their character set.
struct Connections(Vec<(String, String)>);

impl Connections {
    fn index(&mut self, name: &str, charset: &str) -> usize {
        if let Some(known) = self.0.iter().position(|(known, _)| known == name) {
            return known;
        }
        self.0.push((name.to_owned(), charset.to_owned()));
        self.0.len() - 1
    }
}

/// A script under way.
struct Run<'a> {
    script: &'a Script,
    server: &'a Server,
    sessions: Vec<Option<Session>>,
    /// Statements that undo what the case did to the server, in the order in which it did.
    undo: Vec<String>,
    /// What the server takes for the time, Unix seconds.
    clock_s: u64,
}

/// 2024-01-01 00:00:00 UTC.
const CLOCK_S: u64 = 1_704_067_200;
/// MySQL allows one step at a time between these.
const GTID_MODES: [&str; 4] = ["ON", "ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"];

impl<'a> Run<'a> {
    fn new(script: &'a Script, server: &'a Server) -> Self {
        let sessions = script.charsets.iter().map(|_| None).collect();
        Self { script, server, sessions, undo: Vec::new(), clock_s: CLOCK_S }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Run { connection, statement, fails } => {
                self.statement(*connection, statement, *fails);
            }
            Step::Close(connection) => {
                self.sessions[*connection] = None;
                // The server sees the end of a connection a little later than the client.
                sleep(Duration::from_millis(300));
            }
            Step::Global { name, value } => self.global(name, value),
            Step::Reset => self.server.reset_logs(),
            Step::GtidOff => self.gtid_off(),
        }
    }

    fn statement(&mut self, connection: usize, statement: &str, fails: Option<u32>) {
        let charset = &self.script.charsets[connection];
        let session =
            self.sessions[connection].get_or_insert_with(|| self.server.session_in(charset));
        // Every run has the same clock, and each statement is a second later than the one before.
        self.clock_s += 1;
        session
            .run(&format!("set timestamp={}", self.clock_s))
            .expect("a variable of every server");
        let folder = self.server.folder().to_str().expect("a UTF-8 path");
        let text = statement.replace("{dir}", folder);
        let result = session.run_bytes(&encoded(&text, charset));
        let name = &self.script.name;
        match (result, fails) {
            (Ok(_), None) => {}
            (Ok(_), Some(code)) => panic!("{name}: must fail with {code}: {text}"),
            (Err(error), Some(code)) if error.code == code => {}
            (Err(error), _) => panic!("{name}: {text}: {error}"),
        }
    }

    fn global(&mut self, name: &str, value: &str) {
        let old = self.server.value(&format!("select @@global.{name}"));
        self.undo.push(format!("set global {name}={}", literal(&old)));
        self.server.sql(&format!("set global {name}={}", literal(value)));
        // A connection copies the global variables when it begins.
        self.sessions[0] = None;
    }

    fn gtid_off(&mut self) {
        for mode in &GTID_MODES[1..] {
            self.server.sql(&format!("set global gtid_mode={mode}"));
        }
        self.server.sql("set global enforce_gtid_consistency=OFF");
        self.server.reset_logs();
        let back = GTID_MODES.iter().rev().skip(1);
        // Undone from the last to the first, so the last here is the first there.
        self.undo.extend(back.map(|mode| format!("set global gtid_mode={mode}")).rev());
        self.undo.push("set global enforce_gtid_consistency=ON".to_owned());
    }

    fn restore(mut self) {
        self.sessions.clear();
        for statement in self.undo.iter().rev() {
            self.server.sql(statement);
        }
    }
}

fn literal(value: &str) -> String {
    if value.parse::<i64>().is_ok() { value.to_owned() } else { format!("'{value}'") }
}

/// The text as a client of this character set sends it.
fn encoded(text: &str, charset: &str) -> Vec<u8> {
    let encoding = match charset {
        "utf8mb4" => return text.as_bytes().to_vec(),
        "latin1" => encoding_rs::WINDOWS_1252,
        "gbk" => encoding_rs::GBK,
        "sjis" => encoding_rs::SHIFT_JIS,
        "cp1251" => encoding_rs::WINDOWS_1251,
        other => panic!("no encoder for {other}"),
    };
    let (bytes, _, lossy) = encoding.encode(text);
    assert!(!lossy, "{charset} cannot say {text}");
    bytes.into_owned()
}
