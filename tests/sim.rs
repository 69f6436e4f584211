//! The whole, simulated: agents, links and a collector on one thread, on a clock that we turn.
//!
//! | variable | what |
//! |---|---|
//! | `SEEDS=n` | so many seeds, on all cores |
//! | `SEED=n` | this one alone |
//!
//! In each world the real stager, buffer, pump, desk, intake and log carry changes from a simulated
//! server to a sink that checks, straight or through a broker, on disks that refuse, lose what was not
//! synced, and rot. What every step has to leave true is told in `sim/world.rs`.
//!
//! `sim/bugs` is a list of deliberate bugs; `make sim-bugs` shows that each of them is noticed.

#[path = "sim/broker.rs"]
mod broker;
#[path = "sim/bugs/list.rs"]
mod bugs;
#[path = "sim/centre.rs"]
mod centre;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/edge.rs"]
mod edge;
#[path = "sim/history.rs"]
mod history;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/world.rs"]
mod world;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use world::World;

/// What a debug build does in well under a minute.
const SEEDS: u64 = 40;
/// From so many on, several processes share them.
const SHARED_FROM: u64 = 200;
const TELL_EVERY: Duration = Duration::from_secs(60);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number of seeds, or a seed"))
}

#[test]
fn whatever_fails_the_sink_has_a_prefix_and_in_the_end_everything() {
    if let Some(seed) = number("SEED") {
        World::new(seed).run();
        return;
    }
    let (seeds, began) = (number("SEEDS").unwrap_or(SEEDS), Instant::now());
    match (number("FIRST"), number("STEP")) {
        (Some(first), Some(step)) => return live(first, step, seeds),
        _ if seeds < SHARED_FROM => live(0, 1, seeds),
        _ => share(seeds),
    }
    println!("{seeds} seeds, {:.1} a second", seeds as f64 / began.elapsed().as_secs_f64());
}

/// Lives through the worlds of every `step`th seed; the first that fails ends it.
fn live(first: u64, step: u64, seeds: u64) {
    let mut told = Instant::now();
    for seed in (first..seeds).step_by(step as usize) {
        World::new(seed).run();
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("seed {seed} of {seeds} is done");
        }
    }
}

/// A process for each core.
fn share(seeds: u64) {
    let step = std::thread::available_parallelism().map_or(2, usize::from);
    let own = std::env::current_exe().expect("this program has a path");
    let mut workers: Vec<Child> = (0..step)
        .map(|first| {
            let mut worker = Command::new(&own);
            worker.args(["--nocapture", "--quiet", "whatever_fails"]);
            worker.env("FIRST", first.to_string()).env("STEP", step.to_string());
            worker.env("SEEDS", seeds.to_string());
            worker.spawn().expect("this program can be run")
        })
        .collect();
    while !workers.is_empty() {
        std::thread::sleep(Duration::from_millis(100));
        let mut failed = false;
        workers.retain_mut(|worker| match worker.try_wait().expect("it is our child") {
            Some(status) => {
                failed |= !status.success();
                false
            }
            None => true,
        });
        if failed {
            workers.iter_mut().for_each(|worker| drop(worker.kill()));
            panic!("a seed failed: see above");
        }
    }
}

#[test]
fn every_deliberate_bug_can_still_be_made() {
    for bug in &bugs::BUGS {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(bug.file);
        let text = std::fs::read_to_string(path).unwrap();
        let (found, what) = (text.matches(bug.from).count(), bug.what);
        assert_eq!(found, 1, "{}, to see that it is noticed when {what}: {}", bug.file, bug.from);
        assert_ne!(bug.from, bug.to);
    }
}
