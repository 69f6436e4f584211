//! `make network`: agent and collector over a link that is slow, lossy, narrow, cut or half blocked.
//!
//! ```text
//!  MariaDB ─ unix socket ─► rivulet │ edge's namespace │ relay │ centre's namespace │ rivulet-collector ─► file
//! ```
//!
//! Both ends are the real programs, each in a network namespace of its own; between them a relay
//! (`relay/`) moves IP packets from one TUN device to the other and does what each scene tells it. Each scene
//! prints what it measured beside its goal, and all rows must have arrived once. Needs root for the namespaces.
//!
//! `SCENES="latency outage"` runs some of them; `OUTAGE_S=600` is how long the long outage lasts.

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

mod load;
mod net;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::json::Json;
use harness::pipeline::Pipeline;
use harness::process::{RIVULET, run};
use harness::server::{Flavour, Server};
use load::{Load, ROWS, Watch};
use net::{CENTRE, EDGES, Net};

/// What every scene has.
///
/// What is higher up ends first.
struct Stage {
    watch: Watch,
    load: Load,
    pipeline: Pipeline,
    net: Net,
    _server: Server,
    /// Goals that were missed.
    missed: u32,
}

type Scene = fn(&mut Stage);

const SCENES: [(&str, Scene); 7] = [
    ("latency", latency),
    ("restart", restart),
    ("address", address),
    ("hole", hole),
    ("blocked", blocked),
    ("outage", outage),
    ("resume", resume),
];

/// 1,000 rows a second.
const PACE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let chosen = std::env::var("SCENES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let unknown = chosen.iter().find(|name| SCENES.iter().all(|(known, _)| known != *name));
    if let Some(name) = unknown {
        eprintln!("SCENES: no scene `{name}`");
        return ExitCode::FAILURE;
    }
    let mut missed = 0;
    for (name, scene) in SCENES {
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        println!("{name}:");
        let mut stage = Stage::new();
        scene(&mut stage);
        stage.settle();
        missed += stage.missed;
    }
    println!("{missed} goals missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Stage {
    /// A new server, new keys, a new link that is 60 ms long and otherwise perfect.
    fn new() -> Self {
        let mut net = Net::new(1);
        net.order("delay 30");
        let server = Server::start(Flavour::Mariadb1011, &[]);
        let load = Load::new(&server);
        server.reset_logs();
        let names = [net.names[0].as_str(), net.names[1].as_str()];
        let mut pipeline = Pipeline::between(&server, names, CENTRE, "");
        pipeline.start_collector();
        let watch = Watch::start(pipeline.path("changes"));
        Self { watch, load, pipeline, net, _server: server, missed: 0 }
    }

    /// Says how a figure compares with its goal.
    fn measured(&mut self, what: &str, value: f64, unit: &str, goal: f64, at_least: bool) {
        let met = if at_least { value >= goal } else { value <= goal };
        let (than, verdict) =
            (if at_least { "at least" } else { "at most" }, if met { "" } else { " MISSED" });
        println!("  {what}: {value:.1} {unit} ({than} {goal} {unit}){verdict}");
        self.missed += u32::from(!met);
    }

    /// Waits until all rows have arrived. That none came twice the watch sees to.
    fn settle(&mut self) {
        self.until(self.load.next);
        println!("  {} rows, each once", self.load.next);
    }

    /// The time until `rows` have arrived.
    fn until(&mut self, rows: u64) -> Duration {
        let start = Instant::now();
        while self.watch.rows() < rows {
            let late = start.elapsed() > PATIENCE;
            assert!(!late, "{} of {rows} rows\n{}", self.watch.rows(), self.pipeline.said());
            sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }

    /// What the agent says of itself.
    fn status(&self, group: &str, field: &str) -> u64 {
        let state = self.pipeline.path("agent");
        let words = ["status", "--json", "--state-dir", state.to_str().expect("a UTF-8 path")];
        let output = run(RIVULET, &words);
        let json = Json::parse(&String::from_utf8_lossy(&output.stdout));
        let figure = json.at(group).and_then(|it| it.at(field)).and_then(Json::whole);
        figure.and_then(|it| u64::try_from(it).ok()).expect("a figure")
    }

    /// So many connections came after the first.
    fn reconnects(&self) -> u64 {
        self.status("link", "reconnects")
    }

    /// A few rows over a connection that is there.
    fn warm_up(&mut self) {
        self.pipeline.start_agent();
        self.load.run(Duration::from_secs(2), PACE);
        self.until(self.load.next);
    }

    /// How long a row takes from now on, with others behind it every 50 ms.
    fn flows_again(&mut self) -> Duration {
        let (start, first) = (Instant::now(), self.load.next);
        let mut due = start;
        while self.watch.seen(first).is_none() {
            if Instant::now() >= due {
                self.load.step();
                due += Duration::from_millis(50);
            }
            assert!(start.elapsed() < PATIENCE, "nothing flows\n{}", self.pipeline.said());
            sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }
}

/// 60 ms there and back, one packet in a hundred lost, 1,000 row changes a second.
fn latency(stage: &mut Stage) {
    stage.net.order("loss 1");
    stage.warm_up();
    let first = stage.load.next;
    stage.load.run(Duration::from_secs(30), PACE);
    stage.until(stage.load.next);
    let mut times: Vec<f64> = (first..stage.load.next)
        .step_by(ROWS as usize)
        .map(|id| {
            let seen = stage.watch.seen(id).expect("all have arrived");
            seen.saturating_duration_since(stage.load.committed[&id]).as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("  commit to line: P50 {:.1} ms, P99 {:.1} ms", at(50), at(99));
    stage.measured("commit to line, P95", at(95), "ms", 350.0, false);
}

/// The collector is killed and started again: how soon does the agent notice and go on?
fn restart(stage: &mut Stage) {
    stage.warm_up();
    stage.pipeline.collector().kill();
    stage.load.run(Duration::from_millis(300), PACE);
    let arrived = stage.watch.rows();
    stage.pipeline.start_collector();
    let took = stage.until(arrived + 1);
    stage.measured("start of the collector to the next row", took.as_secs_f64(), "s", 2.0, false);
}

/// The edge's address changes while a backlog is sent over 20 Mbit/s.
fn address(stage: &mut Stage) {
    stage.warm_up();
    stage.net.order("rate 2000000");
    stage.load.run(Duration::from_secs(5), Duration::from_millis(2));
    let before = stage.reconnects();
    stage.net.move_edge(EDGES[0], EDGES[1]);
    stage.load.run(Duration::from_secs(5), Duration::from_millis(2));
    stage.until(stage.load.next);
    let more = stage.reconnects() - before;
    stage.measured("connections after the edge's address changed", more as f64, "", 0.0, false);
}

/// From one moment on the link swallows packets above 1,350 bytes.
fn hole(stage: &mut Stage) {
    stage.warm_up();
    let before = stage.reconnects();
    stage.net.order("mtu 1350");
    stage.load.run(Duration::from_secs(5), Duration::from_millis(2));
    let took = stage.until(stage.load.next);
    let more = stage.reconnects() - before;
    stage.measured("connections in the black hole", more as f64, "", 0.0, false);
    stage.measured("behind the load", took.as_secs_f64(), "s", 5.0, false);
}

/// UDP does not pass: at the agent's start, and later in the middle.
fn blocked(stage: &mut Stage) {
    stage.net.order("udp off");
    stage.pipeline.start_agent();
    let took = stage.flows_again();
    stage.measured("start to a row over TCP", took.as_secs_f64(), "s", 5.0, false);
    let (connections, start) = (stage.reconnects(), Instant::now());
    stage.net.order("udp on");
    while stage.reconnects() == connections {
        let late = start.elapsed() > PATIENCE;
        assert!(!late, "it stays on TCP\n{}", stage.pipeline.said());
        stage.load.step();
        sleep(Duration::from_millis(50));
    }
    stage.measured("UDP passes to QUIC again", start.elapsed().as_secs_f64(), "s", 60.0, false);
    stage.until(stage.load.next);
    stage.net.order("udp off");
    let took = stage.flows_again();
    let took = took.as_secs_f64();
    stage.measured("UDP blocked in the middle to a row over TCP", took, "s", 5.0, false);
}

/// A long outage, and then a backlog over 10 Mbit/s.
fn outage(stage: &mut Stage) {
    const RATE: f64 = 1e7;
    let seconds = std::env::var("OUTAGE_S").map_or(600, |text| text.parse().expect("seconds"));
    stage.warm_up();
    stage.net.order(&format!("rate {RATE}"));
    stage.net.order("link off");
    let end = Instant::now() + Duration::from_secs(seconds);
    stage.load.run(Duration::from_secs(seconds), Duration::from_millis(2));
    sleep(end.saturating_duration_since(Instant::now()));
    let before = stage.status("batches", "bytes_sent");
    stage.net.order("link on");
    let (arrived, start) = (stage.watch.rows(), Instant::now());
    stage.until(arrived + 1);
    println!("  link back to the next row: {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    stage.until(stage.load.next);
    let bits = (stage.status("batches", "bytes_sent") - before) as f64 * 8.0;
    println!("  {:.1} MB in {:.1} s", bits / 8e6, start.elapsed().as_secs_f64());
    let share = bits / start.elapsed().as_secs_f64() / RATE * 100.0;
    stage.measured("share of the link's rate", share, "%", 70.0, true);
}

/// An agent with a backlog is started: how soon has the collector its first batch?
fn resume(stage: &mut Stage) {
    stage.warm_up();
    stage.net.order("link off");
    stage.load.run(Duration::from_secs(2), PACE);
    let status = stage.pipeline.agent().terminate(Duration::from_secs(10));
    assert!(status.success(), "{}", stage.pipeline.said());
    stage.net.order("link on");
    let (arrived, start) = (stage.watch.rows(), Instant::now());
    stage.pipeline.start_agent();
    let id = stage.pipeline.agent().id();
    let mut before = None;
    // It is in its namespace some time before it dials.
    while Net::sent_by(id) <= before || before.is_none() {
        before = before.or_else(|| Net::sent_by(id));
        assert!(start.elapsed() < PATIENCE, "it never dials\n{}", stage.pipeline.said());
    }
    let (began, dialled) = (start.elapsed(), Instant::now());
    stage.until(arrived + 1);
    let (took, goal) = (dialled.elapsed().as_secs_f64() * 1e3, 1.5 * 60.0 + 20.0);
    println!("  start of the program to its first packet: {:.1} ms", began.as_secs_f64() * 1e3);
    stage.measured("first packet to the line", took, "ms", goal, false);
}
