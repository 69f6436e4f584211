//! What systemd is told by the real programs, and the units under which it runs them.

#![allow(unreachable_pub)]

mod harness;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::pipeline::Pipeline;

/// Time enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// A watchdog that is to hear something twice in this time.
const WATCHDOG: Duration = Duration::from_millis(400);

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn listen(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).expect("a socket in a temporary folder");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, path }
    }

    /// What makes a program one of its services.
    fn runner(&self) -> Vec<String> {
        let watchdog = format!("WATCHDOG_USEC={}", WATCHDOG.as_micros());
        vec!["env".into(), format!("NOTIFY_SOCKET={}", self.path.display()), watchdog]
    }

    fn next(&self, pipeline: &Pipeline) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
            panic!("nothing is told for {PATIENCE:?}: {error}\n{}", pipeline.said())
        });
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// The first message with this line.
    fn wait_for(&self, line: &str, pipeline: &Pipeline) -> String {
        let start = Instant::now();
        loop {
            let message = self.next(pipeline);
            if has(&message, line) {
                return message;
            }
            assert!(start.elapsed() < PATIENCE, "{line} is not told; the last was {message}");
        }
    }
}

fn has(message: &str, line: &str) -> bool {
    message.lines().any(|it| it == line)
}

/// Agent (0) and collector (1) to be started, of which one is the manager's service.
fn service(which: usize) -> (Pipeline, Manager) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/sample.000001");
    let mut pipeline = Pipeline::of_file(&sample);
    let manager = Manager::listen(pipeline.path("notify"));
    pipeline.runners[which] = manager.runner();
    (pipeline, manager)
}

#[test]
fn the_agent_tells_when_it_is_ready_at_work_and_at_its_end() {
    let (mut pipeline, manager) = service(0);
    pipeline.start_agent();
    let first = manager.next(&pipeline);
    assert!(has(&first, "READY=1") && has(&first, "WATCHDOG=1"), "{first}");
    assert!(pipeline.path("agent/buffer.db").is_file(), "it was ready without a buffer");
    assert!(pipeline.path("agent/agent.sock").exists(), "it was ready without its socket");
    let after = manager.wait_for("WATCHDOG=1", &pipeline);
    assert!(!has(&after, "READY=1"), "{after}");

    // Nobody takes what it has read: it waits for something outside of it, and is alive.
    let words = manager.wait_for("WATCHDOG=1", &pipeline);
    assert!(words.contains("STATUS=healthy: source connected, link connecting, "), "{words}");
    // With a collector it says that the link stands, and that nothing waits any more.
    pipeline.start_collector();
    manager.wait_for("STATUS=healthy: source connected, link connected, nothing waits", &pipeline);
    assert!(pipeline.agent().terminate(PATIENCE).success(), "{}", pipeline.said());
    manager.wait_for("STOPPING=1", &pipeline);
}

#[test]
fn a_stopped_agent_gives_no_sign_of_life() {
    let (mut pipeline, manager) = service(0);
    pipeline.start_agent();
    manager.wait_for("WATCHDOG=1", &pipeline);
    pipeline.agent().signal("STOP");
    // What was on its way.
    manager.socket.set_read_timeout(Some(2 * WATCHDOG)).expect("a timeout");
    let mut bytes = [0; 4096];
    let on_the_way = (0..100).take_while(|_| manager.socket.recv(&mut bytes).is_ok()).count();
    assert!(on_the_way < 100, "it goes on telling");
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    pipeline.agent().signal("CONT");
    manager.wait_for("WATCHDOG=1", &pipeline);
}

#[test]
fn the_collector_tells_when_it_is_ready_at_work_and_at_its_end() {
    let (mut pipeline, manager) = service(1);
    pipeline.start_collector();
    let first = manager.next(&pipeline);
    assert!(has(&first, "READY=1") && has(&first, "WATCHDOG=1"), "{first}");
    pipeline.start_agent();
    manager.wait_for("STATUS=agents that are in: 1", &pipeline);
    assert!(pipeline.collector().terminate(PATIENCE).success(), "{}", pipeline.said());
    manager.wait_for("STOPPING=1", &pipeline);
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cross/units.sh");
    let output = Command::new(&script).output().expect("cross/units.sh can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{said}{errors}");
    assert!(output.status.success(), "{said}{errors}");
}
