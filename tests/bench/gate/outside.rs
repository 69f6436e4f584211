//! SHELL: what is measured of other processes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How often memory is measured.
const TIMES: u32 = 5;

/// A program that was built beside this one, or beside the folder that this one is in.
pub(crate) fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let found = own.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no program `{name}` near {}", own.display()))
}

/// The most memory that a process has had, in KiB, while it lives.
pub(crate) fn highest_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// What `split` or `carry` took.
pub(crate) struct Took {
    pub(crate) rows: f64,
    pub(crate) highest_kib: f64,
}

impl Took {
    /// In a process of its own; of several, the one with the least memory, which varies by some pages.
    pub(crate) fn of(what: &str, log: &Path) -> Self {
        let runs = (0..TIMES).map(|_| Self::once(what, log));
        runs.min_by(|a, b| a.highest_kib.total_cmp(&b.highest_kib)).expect("some runs")
    }

    fn once(what: &str, log: &Path) -> Self {
        let output = Command::new(built("gate")).arg(what).arg(log).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<f64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [rows, highest_kib] = numbers.as_slice() else { panic!("{text}") };
        Self { rows: *rows, highest_kib: *highest_kib }
    }
}

/// The instructions of a whole process.
pub(crate) fn instructions(program: &str, what: &str, log: &Path) -> f64 {
    let count = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/count.sh");
    let mut command = Command::new(count);
    command.arg("instructions").arg(built(program)).arg(what).arg(log).stderr(Stdio::inherit());
    let output = command.output().expect("it is a script");
    assert!(output.status.success(), "the instructions of {program} {what} were not counted");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// `rivulet decode`'s memory at its highest, the least of several.
pub(crate) fn decode_highest_kib(log: &Path) -> u64 {
    (0..TIMES).map(|_| decode_once(log)).min().expect("some runs")
}

/// Its output is more than a pipe holds, so that it lives while a part
/// of it is read.
fn decode_once(log: &Path) -> u64 {
    let mut command = Command::new(built("rivulet"));
    let mut child = command.arg("decode").arg(log).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut out = child.stdout.take().expect("it is piped");
    let (mut highest, mut buffer) = (0, vec![0; 64 << 10]);
    while out.read(&mut buffer).expect("a pipe") > 0 {
        highest = highest_kib(child.id()).unwrap_or(0).max(highest);
    }
    assert!(child.wait().expect("it ends").success(), "rivulet decode failed");
    highest
}
