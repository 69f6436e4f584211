//! Row changes at a steady rate, and when each of them was in the sink's file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rivulet::mysql::auth::Password;
use rivulet::mysql::channel::{Address, Stopper};
use rivulet::mysql::connection::{Connection, Endpoint};

use crate::harness::pipeline::sink_files;
use crate::harness::server::Server;

/// Rows of one transaction.
pub const ROWS: u64 = 10;

/// Inserts rows with the ids 0, 1, 2, …
pub struct Load {
    session: Connection,
    /// So many ids are taken.
    pub next: u64,
    /// When the transaction with this first id was committed.
    pub committed: HashMap<u64, Instant>,
}

impl Load {
    pub fn new(server: &Server) -> Self {
        server.sql("create database net");
        server.sql("create table net.t (id bigint primary key, v varchar(120))");
        let endpoint = Endpoint::new(Address::Unix(server.socket()), "root", Password::new(""));
        let session = Connection::open(&endpoint, &Stopper::default()).expect("root may log in");
        Self { session, next: 0, committed: HashMap::new() }
    }

    /// One transaction after the other, one every `pace`, for so long.
    pub fn run(&mut self, time: Duration, pace: Duration) {
        let start = Instant::now();
        let mut due = start;
        while start.elapsed() < time {
            sleep(due.saturating_duration_since(Instant::now()));
            due += pace;
            self.step();
        }
    }

    /// One transaction.
    pub fn step(&mut self) {
        let (first, mut chance) = (self.next, fastrand::Rng::with_seed(self.next));
        let rows: Vec<String> = (first..first + ROWS)
            .map(|id| {
                let text: String = (0..60).map(|_| chance.alphanumeric()).collect();
                format!("({id},'{text}')")
            })
            .collect();
        let sql = format!("insert into net.t values {}", rows.join(","));
        self.session.query(&sql).expect("the statement is right");
        self.committed.insert(first, Instant::now());
        self.next += ROWS;
    }
}

/// A reader of the sink's files, which looks a thousand times a second.
pub struct Watch {
    seen: Arc<Mutex<HashMap<u64, Instant>>>,
    rows: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(folder: PathBuf) -> Self {
        let mut watch =
            Self { seen: Arc::default(), rows: Arc::default(), done: Arc::default(), thread: None };
        let (seen, rows, done) =
            (Arc::clone(&watch.seen), Arc::clone(&watch.rows), Arc::clone(&watch.done));
        watch.thread = Some(thread::spawn(move || look(&folder, &seen, &rows, &done)));
        watch
    }

    /// Rows that have arrived.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// When the row with this id arrived.
    pub fn seen(&self, id: u64) -> Option<Instant> {
        self.seen.lock().expect("nobody panics with it").get(&id).copied()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || !matches!(ended, Some(Err(_))), "the reader panicked");
    }
}

fn look(folder: &Path, seen: &Mutex<HashMap<u64, Instant>>, rows: &AtomicU64, done: &AtomicBool) {
    let (mut file, mut number) = (None::<File>, 0);
    let (mut text, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while !done.load(Ordering::Relaxed) {
        let files = if file.is_none() { sink_files(folder) } else { Vec::new() };
        if let Some(path) = files.get(number) {
            file = Some(File::open(path).expect("the sink's file"));
            number += 1;
        }
        let len = file.as_mut().map_or(0, |file| file.read(&mut buffer).expect("it can be read"));
        let now = Instant::now();
        if len == 0 {
            // Another one may have begun.
            if sink_files(folder).len() > number {
                file = None;
            }
            sleep(Duration::from_millis(1));
            continue;
        }
        text.extend_from_slice(&buffer[..len]);
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = text.drain(..end).collect();
        let mut seen = seen.lock().expect("nobody panics with it");
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
            let id = line["after"]["id"].as_u64().expect("each is an insert");
            assert!(seen.insert(id, now).is_none(), "row {id} came twice");
            rows.fetch_add(1, Ordering::Relaxed);
        }
    }
}
