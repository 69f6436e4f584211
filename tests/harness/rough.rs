//! What a machine does to a process beside killing it: disks that fill up, clocks that jump.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::script;

/// Whether this process may mount: it does so in a namespace of its own, that leaves nothing behind.
const MARK: &str = "EXAM_MAY_MOUNT";

/// Runs the named test once more, where it may mount; true if that is this process. Panics with the
/// reason if this machine does not let us.
pub fn may_mount(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let own = std::env::current_exe().expect("this program has a path");
    // As root a namespace of mounts is enough; anybody else needs one of users for it.
    for flags in ["-m", "-Urm"] {
        let mut probe = Command::new("unshare");
        probe.args([flags, "mount", "-t", "tmpfs", "none", "/mnt"]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut again = Command::new("unshare");
        again.arg(flags).arg(&own).args(["--exact", "--nocapture", test]).env(MARK, "1");
        let status = again.status().expect("unshare has just run");
        assert!(status.success(), "{test} failed: see above");
        return false;
    }
    panic!("no small disk can be made: neither `unshare -m` nor `unshare -Urm` may mount here");
}

/// A small disk in memory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// On an empty folder.
    pub fn mount(folder: &Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder);
        let output = mount.output().expect("mount can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", folder.display());
        Self(folder.to_owned())
    }

    /// Takes all that is left of it.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("ours");
        let block = vec![0xA5; 1 << 20];
        for len in [block.len(), 4096] {
            while file.write_all(&block[..len]).is_ok() {}
        }
    }

    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open there keeps it until the end.
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).output();
    }
}

/// The wall clock of one process, which follows what is written to a file.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right. Fetches what it needs.
    pub fn new(file: PathBuf) -> Self {
        let output = script(&["faketime"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no clock can be set: {said}");
        let library = String::from_utf8_lossy(&output.stdout).lines().last().map(PathBuf::from);
        let clock = Self { library: library.expect("the library's path"), file };
        clock.set(0);
        clock
    }

    /// So many seconds before or behind the true time.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a writable folder");
        fs::rename(&new, &self.file).expect("a writable folder");
    }

    /// What runs a process that follows it.
    pub fn runner(&self) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", text(&self.library)),
            format!("FAKETIME_TIMESTAMP_FILE={}", text(&self.file)),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            // Timers run on: a clock that is set does not stop the time.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }

    /// What a program with this clock takes for now, in Unix seconds.
    pub fn shown(&self) -> i64 {
        let mut date = Command::new("env");
        date.args(&self.runner()[1..]).args(["date", "+%s"]);
        let output = date.output().expect("date can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("date says {text:?}"))
    }
}
