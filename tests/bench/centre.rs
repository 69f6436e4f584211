//! SHELL: the two programs as processes of their own, with all that they need around them.

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The programs, kept apart from what is built later.
pub(crate) struct Programs {
    agent: PathBuf,
    collector: PathBuf,
    folder: PathBuf,
}

/// Where an agent reads.
pub(crate) enum Source<'a> {
    /// One file, to its end.
    File(&'a Path),
    /// A server's socket, from the next change on.
    Live(&'a Path),
}

impl Programs {
    /// Copies them into a folder.
    pub(crate) fn copy_to(folder: &Path) -> Self {
        let copy = |name: &str| {
            let (from, to) = (built(name), folder.join(name));
            // Over a file that runs nothing can be written; a new one takes its name.
            let _ = fs::remove_file(&to);
            fs::copy(from, &to).expect("the programs are built");
            to
        };
        Self {
            agent: copy("rivulet"),
            collector: copy("rivulet-collector"),
            folder: folder.join("run"),
        }
    }

    /// New certificates, and a collector that listens.
    pub(crate) fn collector(&self) -> Centre {
        let _ = fs::remove_dir_all(&self.folder);
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        for name in ["data", "out", "state"] {
            private.create(self.folder.join(name)).expect("target/ can be written");
        }
        for words in [&["init"][..], &["collector", "localhost"], &["agent", "edge-1"]] {
            let mut command = Command::new(&self.collector);
            command.current_dir(&self.folder).arg("pki").args(words).args(["--dir", "pki"]);
            let status = command.stdout(Stdio::null()).status().expect("it runs");
            assert!(status.success(), "pki {words:?} failed");
        }
        let port = free_port();
        let at = self.folder.display();
        let config = self.folder.join("collector.toml");
        let text = format!(
            "data_dir = \"{at}/data\"\n[listen]\nquic = \"127.0.0.1:{port}\"\ntls = \"off\"\nca = \"{at}/pki/ca.pem\"\n\
             certificate = \"{at}/pki/collector.pem\"\nkey = \"{at}/pki/collector.key\"\n\
             [[sink]]\nname = \"changes\"\nkind = \"file\"\ndirectory = \"{at}/out\"\n\
             file_bytes_max = \"64GiB\"\n"
        );
        fs::write(&config, text).expect("target/ can be written");
        let process = Process::start(&self.collector, "serve", &config);
        let out = self.folder.join("out/changes.000001.jsonl");
        Centre { process, port, out, journal: self.folder.join("data/journal.db") }
    }

    /// An agent for a port of this machine.
    pub(crate) fn agent(&self, source: &Source<'_>, port: u16, more: &str) -> Process {
        let at = self.folder.display();
        let source = match source {
            Source::File(path) => {
                format!("kind = \"files\"\npath = \"{}\"\nfollow = false", path.display())
            }
            Source::Live(socket) => {
                format!("socket = \"{}\"\nuser = \"root\"\nstart = \"latest\"", socket.display())
            }
        };
        let text = format!(
            "agent = \"edge-1\"\nstate_dir = \"{at}/state\"\n[source]\n{source}\n\
             [uplink]\nendpoint = \"quic://127.0.0.1:{port}\"\nserver_name = \"localhost\"\n\
             ca = \"{at}/pki/ca.pem\"\ncertificate = \"{at}/pki/agents/edge-1.pem\"\n\
             key = \"{at}/pki/agents/edge-1.key\"\n{more}"
        );
        let config = self.folder.join("agent.toml");
        fs::write(&config, text).expect("target/ can be written");
        Process::start(&self.agent, "agent", &config)
    }
}

/// A program that was built beside this one.
pub(crate) fn built(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    here.ancestors().nth(2).expect("target/release/examples/bench").join(name)
}

fn free_port() -> u16 {
    let free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    (35050..35100).find(free).expect("a port is free")
}

/// A collector that runs.
pub(crate) struct Centre {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// The sink's file.
    pub(crate) out: PathBuf,
    /// Where what is durable stands.
    pub(crate) journal: PathBuf,
}

impl Centre {
    /// Waits for so many lines in the sink's file.
    pub(crate) fn wait_for(&self, lines: u64) {
        let mut file = fs::File::open(&self.out).expect("the sink has opened it");
        let (mut seen, mut buffer) = (0, vec![0; 1 << 20]);
        let patience = Instant::now() + Duration::from_secs(300);
        while seen < lines {
            assert!(Instant::now() < patience, "{seen} of {lines} lines came");
            match file.read(&mut buffer).expect("it can be read") {
                0 => std::thread::sleep(Duration::from_millis(2)),
                len => seen += buffer[..len].iter().filter(|byte| **byte == b'\n').count() as u64,
            }
        }
    }
}

/// A child process; ended when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    fn start(program: &Path, verb: &str, config: &Path) -> Self {
        let log = fs::File::create(config.with_extension("log")).expect("target/ can be written");
        let mut command = Command::new(program);
        command.arg(verb).arg("--config").arg(config).stderr(log);
        Self { child: command.spawn().expect("it is a program") }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        // `try_wait` would take its CPU time with it.
        self.state() != Some('Z')
    }

    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// The most memory that it had, MiB. Only while it runs.
    pub(crate) fn memory_mib(&self) -> Option<f64> {
        self.status("VmHWM:").map(|kib| kib / 1024.0)
    }

    /// How often its threads have gone to sleep by themselves.
    pub(crate) fn sleeps(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.expect("it runs").filter_map(Result::ok);
        let of = |path: PathBuf| {
            let text = fs::read_to_string(path.join("status")).ok()?;
            let line = text.lines().find(|line| line.starts_with("voluntary_ctxt"))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        tasks.filter_map(|task| of(task.path())).sum()
    }

    fn status(&self, field: &str) -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// CPU time so far, seconds; also after it ended, as long as nobody waited for it.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("nobody has waited for it");
        let fields = stat.rsplit_once(") ").expect("the form of the file").1;
        let ticks = fields.split(' ').skip(11).take(2);
        ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
    }
}

/// Linux: `sysconf(_SC_CLK_TCK)` is 100 on all that matter here.
const TICKS_PER_SECOND: f64 = 100.0;

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
