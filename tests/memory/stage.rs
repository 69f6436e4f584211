//! What every scene has: an agent and a collector on new folders, and what they take.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::harness::follow::Follower;
use crate::harness::json::Json;
use crate::harness::pipeline::Pipeline;
use crate::harness::process::{RIVULET, run};
use crate::harness::server::Server;

/// What the agent's threads are called. The first is that of `main`.
pub const THREADS: [&str; 5] = ["rivulet", "signals", "status", "reader", "async-io"];

pub struct Stage<'a> {
    pub server: &'a Server,
    pipeline: Pipeline,
    follower: Follower,
    lines: u64,
}

impl<'a> Stage<'a> {
    /// The server has no log but an empty one, and an empty schema.
    pub fn new(server: &'a Server) -> Self {
        let _ = server.try_sql("drop database if exists steady");
        server.sql("create or replace database exam");
        server.sql("use exam");
        server.reset_logs();
        let pipeline = Pipeline::new(server, "2GiB");
        if let Ok(more) = std::env::var("MORE") {
            let config = pipeline.path("agent.toml");
            let text = fs::read_to_string(&config).expect("it was made") + &more;
            fs::write(&config, text).expect("a writable folder");
        }
        let follower = Follower::new(pipeline.path("changes"));
        Self { server, pipeline, follower, lines: 0 }
    }

    pub fn start(&mut self) {
        self.start_collector();
        self.start_agent();
    }

    pub fn start_agent(&mut self) {
        self.pipeline.start_agent();
    }

    pub fn start_collector(&mut self) {
        self.pipeline.start_collector();
    }

    /// SIGTERM; how long it took.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        let status = self.pipeline.agent().terminate(Duration::from_secs(20));
        assert!(status.success(), "{status}\n{}", self.pipeline.said());
        began.elapsed()
    }

    /// Starts the agent; how long until a line more is there.
    pub fn start_to_first_line(&mut self) -> Duration {
        let (began, lines) = (Instant::now(), self.lines);
        self.start_agent();
        while self.lines == lines {
            assert!(began.elapsed() < PATIENCE, "{}", self.pipeline.said());
            sleep(Duration::from_micros(500));
            self.follow();
        }
        began.elapsed()
    }

    /// Reads the lines that are there.
    fn follow(&mut self) {
        let lines = &mut self.lines;
        self.follower.each(|_| *lines += 1);
    }

    pub fn follow_for(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.pipeline.agent().must_run();
            self.follow();
            sleep(Duration::from_millis(100));
        }
    }

    /// Follows until no line more comes for a moment.
    pub fn catch_up(&mut self) {
        loop {
            let lines = self.lines;
            self.follow();
            sleep(Duration::from_millis(50));
            self.follow();
            if self.lines == lines {
                return;
            }
            if self.lines > 0 && self.pipeline.agent().ended().is_none() {
                // Under a load, lines never cease.
                return;
            }
        }
    }

    /// Waits for so many lines in all, and sees that there are no more.
    pub fn wait_for(&mut self, lines: u64) {
        let began = Instant::now();
        while self.lines < lines {
            self.pipeline.agent().must_run();
            self.pipeline.collector().must_run();
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{} of {lines} lines\n{}", self.lines, self.pipeline.said());
            self.follow();
            sleep(Duration::from_millis(50));
        }
        sleep(Duration::from_millis(300));
        self.follow();
        assert_eq!(self.lines, lines, "a line for each change");
    }

    pub fn wait_for_link(&mut self) {
        self.wait("the link stands", |status| {
            status.at("link")?.at("state")?.text().filter(|state| *state == "connected").map(drop)
        });
    }

    /// Waits until so many rows are in the buffer; its bytes on disk.
    pub fn wait_for_buffer(&mut self, rows: u64) -> u64 {
        self.wait("all is read", |status| {
            let buffer = status.at("buffer")?;
            (buffer.at("rows")?.whole()? == i128::from(rows)).then_some(())?;
            buffer.at("bytes")?.whole()?.try_into().ok()
        })
    }

    fn wait<T>(&mut self, what: &str, found: impl Fn(&Json) -> Option<T>) -> T {
        let began = Instant::now();
        let state = self.pipeline.path("agent");
        let state = state.to_str().expect("a UTF-8 path");
        loop {
            self.pipeline.agent().must_run();
            let output = run(RIVULET, &["status", "--state-dir", state, "--json"]);
            let text = String::from_utf8_lossy(&output.stdout);
            if let Some(found) =
                (!text.is_empty()).then(|| found(&Json::parse(text.trim()))).flatten()
            {
                return found;
            }
            assert!(began.elapsed() < PATIENCE / 10, "{what}: {text}\n{}", self.pipeline.said());
            sleep(Duration::from_millis(300));
        }
    }

    /// Tells the agent's memory so far.
    pub fn tell_memory(&mut self, when: &str) {
        let (rss, highest) = self.pipeline.agent().memory_kib().expect("it runs");
        println!("  {when}: VmHWM {:.2} MB, now {:.2} MB", mb(highest), mb(rss));
    }

    /// Bytes of the server's log.
    pub fn log_bytes(&self) -> u64 {
        let files = self.server.sql("show binary logs");
        files.iter().map(|row| row[1].parse::<u64>().expect("a number")).sum()
    }

    pub fn usage(&mut self) -> Usage {
        Usage::of(self.pipeline.agent().id())
    }

    /// Tells the agent's memory and threads, and ends both. False if there is too much of one.
    pub fn end(mut self, mb_max: f64) -> bool {
        let (rss, highest) = self.pipeline.agent().memory_kib().expect("it runs");
        let (_, collector) = self.pipeline.collector().memory_kib().expect("it runs");
        let threads = threads(self.pipeline.agent().id());
        println!("  threads: {}", threads.join(", "));
        println!(
            "  VmHWM {:.2} MB, at most {mb_max}; at the end {:.2} MB; the collector's {:.1} MB",
            mb(highest),
            mb(rss),
            mb(collector)
        );
        let stopped = self.stop();
        println!("  ended within {} ms", stopped.as_millis());
        let known = threads.iter().all(|name| THREADS.contains(&name.as_str()));
        let fine = mb(highest) <= mb_max && known && threads.len() <= THREADS.len();
        if !fine {
            println!("  TOO MUCH");
        }
        fine
    }
}

/// Megabytes, powers of ten as the limits.
fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// The names of a process's threads.
fn threads(id: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let name = |task: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

/// What a process has taken so far, or between two moments.
pub struct Usage {
    at: Instant,
    time: Duration,
    cpu: Duration,
    /// How often each thread has gone to sleep by itself.
    wakes: Vec<(String, u64)>,
}

impl Usage {
    fn of(id: u32) -> Self {
        let (mut cpu, mut wakes) = (Duration::ZERO, Vec::new());
        for task in fs::read_dir(format!("/proc/{id}/task")).expect("it runs").flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let nanos = read("schedstat").split(' ').next().and_then(|text| text.parse().ok());
            cpu += Duration::from_nanos(nanos.unwrap_or(0));
            let status = read("status");
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let times = line.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            wakes.push((read("comm").trim().to_owned(), times));
        }
        Self { at: Instant::now(), time: Duration::ZERO, cpu, wakes }
    }

    pub fn since(self, before: &Self) -> Self {
        Self {
            at: self.at,
            time: self.at - before.at,
            cpu: self.cpu.saturating_sub(before.cpu),
            wakes: self
                .wakes
                .into_iter()
                .zip(&before.wakes)
                .map(|((name, now), (_, before))| (name, now - before))
                .collect(),
        }
    }

    pub fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.time.as_secs_f64()
    }

    pub fn wakes_per_second(&self) -> f64 {
        self.wakes.iter().map(|(_, times)| times).sum::<u64>() as f64 / self.time.as_secs_f64()
    }

    /// By thread.
    pub fn wakes(&self) -> String {
        let each = |(name, times): &(String, u64)| {
            format!("{name} {:.1}", *times as f64 / self.time.as_secs_f64())
        };
        self.wakes.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}
