//! `make run`: Rivulet at work on this machine, with no configuration.
//!
//! Makes keys in a temporary folder, starts a private MariaDB with a small workload, a collector and
//! an agent, and shows the changes as they arrive, with a line of figures every second. Ctrl-C, or
//! `ROWS=…` or `SECONDS=…`, end it: what is under way arrives, and source and centre are compared.
//!
//! On a machine that can have no server the agent replays a small binlog that comes with the project.

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use harness::agree;
use harness::json::Json;
use harness::pipeline::Pipeline;
use harness::process::{RIVULET, run};
use harness::replay::Change;
use harness::server::{Flavour, Server};
use harness::workload::Workload;

/// A transaction every so often.
const PACE: Duration = Duration::from_millis(4);
/// As many changes are shown per second; the others are counted.
const SHOWN_PER_S: usize = 3;
/// How long the last changes may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Binlog of a few hundred rows, for machines without a server.
const SAMPLE: &str = "tests/run/sample.000001";

fn main() -> ExitCode {
    let mut end = End::read();
    match Server::try_start(Flavour::Mariadb1011, &[]) {
        Ok(server) => {
            // To fetch a server takes time that nobody asked to see.
            end.start = Instant::now();
            live(&server, &end)
        }
        Err(why) => {
            println!("no server: {}", why.trim());
            println!("the agent replays {SAMPLE} in its place");
            replay(&end)
        }
    }
}

/// When to stop.
struct End {
    rows: Option<u64>,
    seconds: Option<u64>,
    asked: Arc<AtomicBool>,
    start: Instant,
}

impl End {
    fn read() -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&asked);
        let mut signals =
            signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).expect("signals can be caught");
        thread::spawn(move || {
            for _ in &mut signals {
                told.store(true, Ordering::Relaxed);
            }
        });
        let (rows, seconds) = (parameter("ROWS"), parameter("SECONDS"));
        Self { rows, seconds, asked, start: Instant::now() }
    }

    fn reached(&self, rows: u64) -> bool {
        self.asked.load(Ordering::Relaxed)
            || self.rows.is_some_and(|wanted| rows >= wanted)
            || self.seconds.is_some_and(|wanted| self.start.elapsed().as_secs() >= wanted)
    }
}

/// A number from the environment; an empty one is none.
fn parameter(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number")))
}

fn live(server: &Server, end: &End) -> ExitCode {
    println!("server: {} on port {}", server.value("select version()"), server.port);
    let mut pipeline = Pipeline::new(server, "64MiB");
    let workload = Workload::new(server, fastrand::u64(..));
    pipeline.start_collector();
    pipeline.start_agent();
    let load = Load::start(workload);
    let mut view = View::default();
    while !end.reached(view.rows) {
        sleep(Duration::from_secs(1));
        pipeline.agent().must_run();
        pipeline.collector().must_run();
        view.show(&pipeline);
    }
    println!("ending: the last changes arrive");
    let mut workload = load.stop();
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);
    let figures = Figures::read(&pipeline);
    let agreement = agree::check(server, &pipeline.lines(), workload.changes);
    let stopped = stop(&mut pipeline);
    match agreement {
        Ok(agreement) => {
            println!(
                "{} transactions, {} changes, {} bytes per row on the wire",
                workload.transactions,
                agreement.lines,
                figures.bytes_per_row()
            );
            println!("source and centre agree: {} rows", agreement.rows);
            stopped
        }
        Err(what) => {
            println!("source and centre DIFFER: {what}");
            ExitCode::FAILURE
        }
    }
}

fn replay(end: &End) -> ExitCode {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE);
    let wanted = rows_of(&sample);
    let mut pipeline = Pipeline::of_file(&sample);
    pipeline.start_collector();
    pipeline.start_agent();
    let mut view = View::default();
    let start = Instant::now();
    while view.rows < wanted && !end.asked.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
        sleep(Duration::from_secs(1));
        pipeline.collector().must_run();
        view.show(&pipeline);
    }
    let lines = Change::all(&pipeline.lines()).len() as u64;
    let stopped = stop(&mut pipeline);
    if lines == wanted {
        println!("file and centre agree: {lines} changes");
        return stopped;
    }
    println!("file and centre DIFFER: {lines} changes arrived, the file holds {wanted}");
    ExitCode::FAILURE
}

/// Changes in a binlog, as `rivulet decode --stats` counts them.
fn rows_of(file: &Path) -> u64 {
    let output = run(RIVULET, &["decode", "--stats", file.to_str().expect("a UTF-8 path")]);
    let stats = Json::parse(String::from_utf8_lossy(&output.stdout).trim());
    let tables = stats.at("rows").map(Json::members).unwrap_or_default();
    let counts = tables.iter().flat_map(|(_, counts)| counts.members());
    counts.filter_map(|(_, count)| count.whole()).map(|count| count as u64).sum()
}

fn stop(pipeline: &mut Pipeline) -> ExitCode {
    let patience = Duration::from_secs(10);
    let ends = [pipeline.agent().terminate(patience), pipeline.collector().terminate(patience)];
    if ends.iter().all(std::process::ExitStatus::success) {
        println!("agent and collector ended in good order");
        return ExitCode::SUCCESS;
    }
    println!("the agent ended with {}, the collector with {}", ends[0], ends[1]);
    println!("{}", pipeline.said());
    ExitCode::FAILURE
}

/// A workload in a thread of its own.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Workload>,
}

impl Load {
    fn start(mut workload: Workload) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                workload.step();
                sleep(PACE);
            }
            workload
        });
        Self { stop, thread }
    }

    fn stop(self) -> Workload {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load ends when it is told to")
    }
}

/// What the agent says of itself.
#[derive(Default)]
struct Figures {
    rows: i128,
    bytes: i128,
    buffered: i128,
}

impl Figures {
    fn read(pipeline: &Pipeline) -> Self {
        let state = pipeline.path("agent");
        let state = state.to_str().expect("a UTF-8 path");
        let output = run(RIVULET, &["status", "--state-dir", state, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() {
            return Self::default();
        }
        let json = Json::parse(text.trim());
        let number = |room: &str, name: &str| {
            json.at(room).and_then(|room| room.at(name)).and_then(Json::whole).unwrap_or(0)
        };
        Self {
            rows: number("source", "rows"),
            bytes: number("batches", "bytes_compressed"),
            buffered: number("buffer", "batches"),
        }
    }

    fn bytes_per_row(&self) -> String {
        if self.rows == 0 {
            return "no".to_owned();
        }
        format!("{:.1}", self.bytes as f64 / self.rows as f64)
    }
}

/// What has been shown so far.
#[derive(Default)]
struct View {
    bytes: usize,
    rows: u64,
}

impl View {
    /// The changes since the last time, as far as they are shown, and the line of figures.
    fn show(&mut self, pipeline: &Pipeline) {
        let text = pipeline.lines();
        let new = text.get(self.bytes..).unwrap_or_default();
        for line in new.lines().take(SHOWN_PER_S) {
            println!("{line}");
        }
        let count = new.lines().count() as u64;
        let age =
            new.lines().rev().find_map(age_ms).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        self.bytes = text.len();
        self.rows += count;
        let figures = Figures::read(pipeline);
        println!(
            "── {count} rows/s, {} in all, lag {age}, {} bytes per row, {} batches in the buffer",
            self.rows,
            figures.bytes_per_row(),
            figures.buffered
        );
    }
}

/// From the statement in the database to its line at the centre, by the moment that the workload wrote
/// into the row: the log itself may have whole seconds only.
fn age_ms(line: &str) -> Option<i128> {
    const DAY_US: i128 = 86_400_000_000;
    let json = Json::parse(line);
    let at = json.at("after")?.at("at")?.text()?;
    let (_, time) = at.trim_end_matches('Z').split_once('T')?;
    let mut us = 0;
    for (part, unit_us) in time.split([':', '.']).zip([3_600_000_000, 60_000_000, 1_000_000, 1]) {
        us += part.parse::<i128>().ok()? * unit_us;
    }
    let rendered = json.at("ts_us").and_then(Json::whole)?;
    Some((rendered - us).rem_euclid(DAY_US) / 1000)
}
