//! Disks that are full, read-only, slow or failing, under the agent's buffer and under the collector's log, while
//! transactions arrive: each is a state with a name, nobody dies of it, and in the end nothing is missing and
//! nothing is there twice.
//!
//! The programs are the real ones; a small library in front of libc (`shim.c`) does what a disk does.

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::agree;
use harness::pipeline::Pipeline;
use harness::process::{RIVULET, run, wait_until};
use harness::server::{Flavour, Server};
use harness::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(120);
/// Where the disk is told how to behave.
const CONTROL: &str = "DISK_CONTROL";

/// Runs the test once more, with the library in front of libc.
fn again_with_shim(test: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (library, control) = (folder.path().join("shim.so"), folder.path().join("control"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/shim.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let built = cc.status().expect("a C compiler: the build needs one too");
    assert!(built.success(), "shim.c: {built}");
    let mut page = vec![0; 4096];
    page[0] = b'-';
    std::fs::write(&control, page).expect("a writable folder");
    let own = std::env::current_exe().expect("this program has a path");
    let mut again = Command::new(own);
    again.args(["--exact", "--nocapture", test]).env(CONTROL, &control).env("LD_PRELOAD", &library);
    let status = again.status().expect("this program runs");
    assert!(status.success(), "{test} failed: see above");
}

/// From now on the files in this folder are on such a disk.
fn disk(mode: u8, folder: &Path) {
    let control = std::env::var(CONTROL).expect("the test runs with its library");
    let control = File::options().write(true).open(control).expect("the control file");
    let mut text = folder.as_os_str().as_encoded_bytes().to_vec();
    text.push(0);
    control.write_all_at(b"-", 0).expect("a page");
    control.write_all_at(&text, 1).expect("a page");
    control.write_all_at(&[mode], 0).expect("a page");
}

fn status(pipeline: &Pipeline) -> String {
    let config = pipeline.path("agent.toml");
    let output = run(RIVULET, &["status", "--config", config.to_str().expect("a UTF-8 path")]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Steps until it is so.
fn load_until(workload: &mut Workload, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        (0..20).for_each(|_| workload.step());
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
    }
}

fn logged(pipeline: &Pipeline, log: &str) -> String {
    std::fs::read_to_string(pipeline.path(log)).unwrap_or_default()
}

#[test]
fn whatever_a_disk_does_has_a_name_and_passes() {
    if std::env::var(CONTROL).is_err() {
        return again_with_shim("whatever_a_disk_does_has_a_name_and_passes");
    }
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let mut pipeline = Pipeline::new(&server, "64MiB");
    let mut workload = Workload::new(&server, 21);
    pipeline.start_collector();
    pipeline.start_agent();
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);

    let agent = pipeline.path("agent/buffer.db");
    let at_the_edge: [(u8, &[&str]); 4] = [
        (b'F', &["the disk is full"]),
        (b'R', &["the disk is read-only", "the disk fails"]),
        (b'E', &["the disk fails"]),
        (b'S', &["the disk is slow"]),
    ];
    for (mode, words) in at_the_edge {
        disk(mode, &agent);
        load_until(&mut workload, words[0], || {
            let status = status(&pipeline);
            words.iter().any(|words| status.contains(words))
        });
        pipeline.agent().must_run();
        pipeline.collector().must_run();
        disk(b'-', &agent);
        let mark = workload.mark();
        agree::wait_for(&mut pipeline, &mark, PATIENCE);
        wait_until("the agent is well", PATIENCE, || status(&pipeline).contains(": healthy"));
    }

    let log = pipeline.path("collector/journal.db");
    let at_the_centre =
        [(b'F', "the disk is full"), (b'R', "the disk "), (b'E', "the disk failed"), (b'S', "")];
    for (mode, words) in at_the_centre {
        let before = logged(&pipeline, "collector.log").len();
        disk(mode, &log);
        if mode == b'S' {
            // Slow is no fault: what is committed arrives.
            (0..50).for_each(|_| workload.step());
            let mark = workload.mark();
            agree::wait_for(&mut pipeline, &mark, PATIENCE);
        }
        load_until(&mut workload, words, || {
            logged(&pipeline, "collector.log")[before..].contains(words)
        });
        pipeline.agent().must_run();
        pipeline.collector().must_run();
        disk(b'-', &log);
        let mark = workload.mark();
        agree::wait_for(&mut pipeline, &mark, PATIENCE);
    }

    let agreement = agree::check(&server, &pipeline.lines(), workload.changes)
        .unwrap_or_else(|what| panic!("{what}\n{}", pipeline.said()));
    println!("{} lines, each once; {} rows as by SELECT", agreement.lines, agreement.rows);
}
