//! SHELL: from a commit on a live server to the line in the sink's file; and what waiting costs.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rivulet::mysql::auth::Password;
use rivulet::mysql::channel::{Address, Stopper};
use rivulet::mysql::connection::{Connection, Endpoint};

use super::centre::{Programs, Source};
use super::figures::Figures;
use super::server::{Flavour, Server};

/// One-row transactions, and the time from one to the next.
const COMMITS: usize = 600;
const PACE: Duration = Duration::from_millis(10);
/// How long the idle agent is watched.
const IDLE: Duration = Duration::from_secs(10);
const LOAD: &str = "live";

pub(crate) fn run(programs: &Programs, figures: &mut Figures) {
    let server = Server::start(Flavour::Mariadb, &[]);
    server.sql("CREATE DATABASE bench; CREATE TABLE bench.t (id INT PRIMARY KEY, v VARCHAR(40));");
    let centre = programs.collector();
    let agent = programs.agent(&Source::Live(&server.socket()), centre.port, "");
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, sleeps) = (agent.cpu_seconds(), agent.sleeps());
    std::thread::sleep(IDLE);
    let (cpu, sleeps) = (agent.cpu_seconds() - cpu, agent.sleeps() - sleeps);
    figures.put(LOAD, "idle agent: CPU, %", cpu * 100.0 / IDLE.as_secs_f64());
    figures.put(LOAD, "idle agent: wake-ups/s", sleeps / IDLE.as_secs_f64());
    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (out, done) = (centre.out.clone(), Arc::clone(&done));
        move || watch(&out, &done)
    });
    let commits = commit(&server);
    std::thread::sleep(Duration::from_secs(1));
    done.store(true, Ordering::Relaxed);
    let seen = watcher.join().expect("it only reads");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (id, (began, ended)) in commits.iter().enumerate() {
        let seen = seen.get(&id).unwrap_or_else(|| panic!("row {id} never came"));
        before.push(seen.saturating_duration_since(*began));
        after.push(seen.saturating_duration_since(*ended));
    }
    for (name, mut times) in [("COMMIT sent → line", before), ("COMMIT returned → line", after)]
    {
        times.sort_unstable();
        for percent in [50, 95, 99] {
            let at = times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            figures.put(LOAD, &format!("{name}, P{percent}, ms"), at);
        }
    }
    figures.put(LOAD, "live agent: peak memory, MiB", agent.memory_mib().unwrap_or(0.0));
}

/// Commits rows with the ids 0, 1, 2, …: when each began and ended.
fn commit(server: &Server) -> Vec<(Instant, Instant)> {
    let endpoint = Endpoint::new(Address::Unix(server.socket()), "root", Password::new(""));
    let mut session = Connection::open(&endpoint, &Stopper::default()).expect("root may log in");
    let mut due = Instant::now();
    let times = (0..COMMITS).map(|id| {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += PACE;
        let began = Instant::now();
        let sql = format!("INSERT INTO bench.t VALUES ({id}, 'a row of some size, {id}')");
        session.query(&sql).expect("the statement is right");
        (began, Instant::now())
    });
    times.collect()
}

/// When the line of each id was there, as seen by a reader that looks ten times a millisecond.
fn watch(out: &Path, done: &AtomicBool) -> HashMap<usize, Instant> {
    let mut file = fs::File::open(out).expect("the sink has opened it");
    let (mut seen, mut text, mut buffer) = (HashMap::new(), Vec::new(), [0; 65536]);
    while !done.load(Ordering::Relaxed) {
        let len = file.read(&mut buffer).expect("it can be read");
        let now = Instant::now();
        if len == 0 {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        text.extend_from_slice(&buffer[..len]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
            let id = line["after"]["id"].as_u64().expect("each is an insert");
            seen.insert(id as usize, now);
        }
    }
    seen
}
