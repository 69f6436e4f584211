//! SHELL: a log file → agent → QUIC → collector → JSON lines in a file.

use std::path::Path;
use std::time::{Duration, Instant};

use super::centre::{Programs, Source};
use super::figures::Figures;
use super::relay::Relay;

/// The figures are the medians of so many times.
const TIMES: usize = 5;

pub(crate) fn run(load: &str, log: &Path, rows: u64, programs: &Programs, figures: &mut Figures) {
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..TIMES {
        for (what, value) in once(log, rows, programs) {
            match all.iter_mut().find(|(known, _)| *known == what) {
                Some((_, values)) => values.push(value),
                None => all.push((what, vec![value])),
            }
        }
    }
    for (what, mut values) in all {
        values.sort_by(f64::total_cmp);
        figures.put(load, what, values[values.len() / 2]);
    }
    wire(load, log, rows as f64, programs, figures);
}

fn once(log: &Path, rows: u64, programs: &Programs) -> [(&'static str, f64); 7] {
    let centre = programs.collector();
    let mut collector_memory = 0f64;
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    let mut agent = programs.agent(&Source::File(log), centre.port, "");
    let mut agent_memory = 0f64;
    while agent.runs() {
        agent_memory = agent.memory_mib().unwrap_or(0.0).max(agent_memory);
        collector_memory = centre.process.memory_mib().unwrap_or(0.0).max(collector_memory);
        std::thread::sleep(Duration::from_millis(5));
    }
    let acknowledged = started.elapsed().as_secs_f64();
    centre.wait_for(rows);
    let seconds = started.elapsed().as_secs_f64();
    collector_memory = centre.process.memory_mib().unwrap_or(0.0).max(collector_memory);
    let rows = rows as f64;
    [
        ("file → collector's disk, rows/s", rows / acknowledged),
        ("file → sink, rows/s", rows / seconds),
        ("agent: peak memory, MiB", agent_memory),
        ("collector: peak memory, MiB", collector_memory),
        ("agent: rows per CPU second, acknowledged", rows / agent.cpu_seconds()),
        ("agent: CPU, µs/row", agent.cpu_seconds() * 1e6 / rows),
        ("collector: CPU, µs/row", centre.process.cpu_seconds() * 1e6 / rows),
    ]
}

/// Once more, with somebody who counts in the middle.
fn wire(load: &str, log: &Path, rows: f64, programs: &Programs, figures: &mut Figures) {
    let centre = programs.collector();
    std::thread::sleep(Duration::from_millis(500));
    let relay = Relay::start(centre.port);
    let mut agent = programs.agent(&Source::File(log), relay.port, "");
    while agent.runs() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (up, down) = relay.bytes();
    figures.put(load, "wire: edge → centre, IP bytes/row", up as f64 / rows);
    figures.put(load, "wire: centre → edge, IP bytes/row", down as f64 / rows);
}
