//! Our own programs as processes: started, watched, stopped and killed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The edge's and the centre's program.
pub const RIVULET: &str = "rivulet";
pub const COLLECTOR: &str = "rivulet-collector";

/// The path of one of our programs, as cargo built it beside this one; `RIVULET_PROGRAM` names another of the
/// edge's, as one for another architecture.
pub fn program(name: &str) -> PathBuf {
    if let Some(other) = std::env::var_os("RIVULET_PROGRAM").filter(|_| name == RIVULET) {
        return PathBuf::from(other);
    }
    let built = match name {
        RIVULET => option_env!("CARGO_BIN_EXE_rivulet"),
        COLLECTOR => option_env!("CARGO_BIN_EXE_rivulet-collector"),
        other => panic!("`{other}` is not a program of ours"),
    };
    if let Some(path) = built {
        return PathBuf::from(path);
    }
    // An example is not told where the programs are: they are one folder up.
    let own = std::env::current_exe().expect("this program has a path");
    let path = own.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("no program `{name}` near {}", own.display()))
}

/// Runs one of our programs to its end.
pub fn run(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program(name)).args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A program of ours that runs in the background. Dropping it kills it.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says is appended to `log`.
    pub fn start(name: &'static str, arguments: &[&str], log: &Path) -> Self {
        Self::start_within(&[], name, arguments, log)
    }

    /// The same, run by another program that becomes it, as `ip netns exec` does.
    pub fn start_within(
        runner: &[&str],
        name: &'static str,
        arguments: &[&str],
        log: &Path,
    ) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a writable log");
        let errors = file.try_clone().expect("a second handle of an open file");
        let mut command = match runner {
            [] => Command::new(program(name)),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program(name));
                command
            }
        };
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // Ctrl-C is for whoever started us, who then ends it in good order.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, child, log: log.to_owned() }
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is our child")
    }

    /// Panics with the end of its log if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended by itself: {status}\n{}", self.name, self.said());
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process is our child");
        self.child.wait().expect("the process is our child");
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal for {} {pid}", self.name);
    }

    /// SIGTERM, and the status it ends with; panics if that takes longer than `patience`.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            let late = start.elapsed() > patience;
            assert!(!late, "{} ignores SIGTERM\n{}", self.name, self.said());
            sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of its log.
    pub fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The system's number for it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory now and at its highest, in KiB; `None` once it has ended.
    pub fn memory_kib(&self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        Some((status_line(&status, "VmRSS:")?, status_line(&status, "VmHWM:")?))
    }

    /// How many files and sockets it has open; `None` once it has ended.
    pub fn descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_line(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Polls until `done`; panics with `what` after `patience`.
pub fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < patience, "waited {patience:?} in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}
