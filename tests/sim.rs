//! The whole, simulated: agents, links and a collector on one thread, on a clock that we turn.
//!
//! | variable | what |
//! |---|---|
//! | `SEEDS=n` | so many seeds |
//! | `SEED=n` | this one alone |
//!
//! In each world the real stager, buffer, pump, desk, intake and log carry changes from a simulated
//! server to a sink that checks. After every step what the sink has is a prefix of what was
//! committed, and what it lacks is in the buffer or not read yet. When the faults end, everything arrives.

#[path = "sim/centre.rs"]
mod centre;
#[path = "sim/edge.rs"]
mod edge;
#[path = "sim/history.rs"]
mod history;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/world.rs"]
mod world;

use std::time::Instant;

use world::World;

/// What a debug build does in well under a minute.
const SEEDS: u64 = 40;

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
    let (mut steps, mut failed) = (0, Vec::new());
    for seed in 0..seeds {
        match std::panic::catch_unwind(|| World::new(seed).run()) {
            Ok(taken) => steps += taken,
            Err(_) => failed.push(seed),
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("{seeds} seeds, {steps} steps, {:.1} seeds/s", seeds as f64 / took);
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}
