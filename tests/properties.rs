//! The properties of everything that reads bytes from outside, bounded: what the fuzz targets look for without
//! end is looked for here in some seconds, with the same table of entries, properties and bounds on memory.
//!
//! Seeds are logs that real servers made a moment ago, taken apart, and some of our own.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

#[path = "fuzz/entries.rs"]
#[allow(unreachable_pub)]
mod entries;
#[path = "differential/generated.rs"]
#[allow(unreachable_pub)]
mod generated;
#[path = "harness/mod.rs"]
mod harness;
#[path = "fuzz/logs.rs"]
mod logs;
#[path = "differential/script.rs"]
#[allow(unreachable_pub)]
mod script;
#[path = "fuzz/seeds.rs"]
mod seeds;

use entries::{ENTRIES, Entry};

/// Mutated inputs for each entry: half of them the same every time.
const INPUTS: u64 = 20_000;
/// Longer inputs take longer, and the fuzzer's are long enough.
const INPUT_BYTES_MAX: usize = 600;
/// Events up to this are cut at every byte, longer ones at as many places.
const CUTS_MAX: usize = 1000;
/// So many events are cut by one thread before it looks for other work.
const CUT_AT_ONCE: usize = 200;
/// The seed of the inputs that are the same every time.
const FIXED: u64 = 20_260_101;

#[test]
fn no_bytes_break_a_promise() {
    let began = Instant::now();
    let logs = logs::make();
    let mut all: BTreeSet<_> = logs.iter().flat_map(|log| seeds::of_log(log)).collect();
    all.extend(seeds::own());
    println!("{} logs, {} seeds after {:.1?}", logs.len(), all.len(), began.elapsed());
    let fresh = std::env::var("SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("SEED is a number"));
    println!("fresh inputs: SEED={fresh}");
    let of_entry = |entry: &Entry| -> Vec<&[u8]> {
        let seeds = all.iter().filter(|(name, _)| *name == entry.name);
        seeds.map(|(_, seed)| &seed[..]).collect()
    };
    let seeds: Vec<_> = ENTRIES.iter().map(|entry| (entry, of_entry(entry))).collect();
    let cut = seeds.iter().filter(|(entry, _)| ["event", "rows"].contains(&entry.name));
    let cut = cut.flat_map(|(entry, events)| {
        events.chunks(CUT_AT_ONCE).map(|events| Work::Cut(entry, events))
    });
    let mutate = seeds.iter().map(|(entry, seeds)| Work::Mutate(entry, seeds));
    let queue = Mutex::new(mutate.chain(cut));
    let next = || queue.lock().expect("no entry panics while it is taken").next();
    let cuts = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(work) = next() {
                    match work {
                        Work::Mutate(entry, seeds) => mutate_all(entry, seeds, fresh),
                        Work::Cut(entry, events) => {
                            let done: u64 =
                                events.iter().map(|event| cut_and_flip(entry, event, fresh)).sum();
                            cuts.fetch_add(done, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let cuts = cuts.into_inner();
    assert!(cuts > 100_000, "{cuts} cut or changed events are too few");
    println!("events: {cuts} cut or changed; all after {:.1?}", began.elapsed());
}

/// What one thread does at a time.
enum Work<'a> {
    Mutate(&'static Entry, &'a [&'a [u8]]),
    /// Every event of the logs, those with rows behind their table maps, cut and changed.
    Cut(&'static Entry, &'a [&'a [u8]]),
}

fn mutate_all(entry: &Entry, seeds: &[&[u8]], fresh: u64) {
    assert!(!seeds.is_empty(), "{} has no seed", entry.name);
    let began = Instant::now();
    let small: Vec<&[u8]> =
        seeds.iter().copied().filter(|seed| seed.len() <= INPUT_BYTES_MAX).collect();
    // An unoptimized build clears a packet buffer's 64 KiB byte by byte.
    let inputs = if entry.name == "packets" { INPUTS / 10 } else { INPUTS };
    for start in [FIXED, fresh] {
        let mut random = fastrand::Rng::with_seed(start);
        for _ in 0..inputs / 2 {
            run(entry, &mutated(&mut random, &small));
        }
    }
    println!("{}: {inputs} inputs in {:.1?}", entry.name, began.elapsed());
}

/// Every truncation, and one changed byte in each; how many that were.
fn cut_and_flip(entry: &Entry, seed: &[u8], fresh: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(fresh ^ u64::from(crc32fast::hash(seed)));
    let cuts = seed.len().min(CUTS_MAX);
    for nth in 0..cuts {
        let length = if seed.len() <= CUTS_MAX { nth } else { random.usize(0..seed.len()) };
        run(entry, &seed[..length]);
    }
    let mut changed = seed.to_vec();
    if !changed.is_empty() {
        changed[random.usize(0..seed.len())] ^= random.u8(1..);
    }
    run(entry, seed);
    run(entry, &changed);
    cuts as u64 + 2
}

/// Runs one input; if it breaks a promise, it is shown, so that it can become a test.
fn run(entry: &Entry, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| entry.run(input));
    if let Err(panic) = outcome {
        println!("{}: this input breaks a promise: {}", entry.name, input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

/// A seed with some changes, or bytes from nowhere.
fn mutated(random: &mut fastrand::Rng, seeds: &[&[u8]]) -> Vec<u8> {
    let Some(seed) = random.choice(seeds).filter(|_| random.u8(..) > 8) else {
        let length = random.usize(0..80);
        return std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    };
    let mut input = seed.to_vec();
    for _ in 0..=random.u8(0..4) {
        if input.is_empty() {
            break;
        }
        let at = random.usize(0..input.len());
        let end = at + random.usize(0..(input.len() - at).min(16));
        match random.u8(0..7) {
            0 => input[at] ^= 1 << random.u8(0..8),
            1 => input[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xfc, 0xfe, 0xff]).unwrap_or(&0),
            2 => input[at] = random.u8(..),
            3 => input.truncate(at),
            4 => drop(input.drain(at..end)),
            5 => input.extend_from_within(at..end),
            _ => {
                let other = random.choice(seeds).copied().unwrap_or_default();
                let from = random.usize(0..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
        }
    }
    input
}
