//! The properties of everything that reads bytes from outside, bounded: what the fuzz targets look for without
//! end is looked for here in some seconds, with the same table of entries, properties and bounds on memory.
//!
//! Seeds are logs that real servers made a moment ago, taken apart, and some of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
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
const CUTS_MAX: usize = 200;
/// So many events of each kind are cut, other ones each time: their logs have hundreds that are alike.
const CUT_OF_A_KIND: usize = 12;
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
    let queue = Mutex::new(ENTRIES.iter());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(entry) = next(&queue) {
                    let of_entry = all.iter().filter(|(name, _)| *name == entry.name);
                    let seeds: Vec<&[u8]> = of_entry.map(|(_, seed)| &seed[..]).collect();
                    examine(entry, &seeds, fresh);
                }
            });
        }
    });
    println!("all after {:.1?}", began.elapsed());
}

fn next(queue: &Mutex<std::slice::Iter<'static, Entry>>) -> Option<&'static Entry> {
    queue.lock().expect("no entry panics while it is taken").next()
}

fn examine(entry: &Entry, seeds: &[&[u8]], fresh: u64) {
    assert!(!seeds.is_empty(), "{} has no seed", entry.name);
    let began = Instant::now();
    let cuts: usize = match entry.name {
        // The same events as they stand in the log.
        "event" => some_of_each_kind(seeds, fresh)
            .into_iter()
            .map(|seed| cut_and_flip(entry, seed, fresh))
            .sum(),
        _ => 0,
    };
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
    println!("{}: {} inputs in {:.1?}", entry.name, inputs as usize + cuts, began.elapsed());
}

fn some_of_each_kind<'a>(seeds: &[&'a [u8]], fresh: u64) -> Vec<&'a [u8]> {
    let mut shuffled = seeds.to_vec();
    fastrand::Rng::with_seed(fresh).shuffle(&mut shuffled);
    let mut counts = BTreeMap::new();
    shuffled.retain(|seed| {
        let count: &mut usize = counts.entry(seed.first()).or_default();
        *count += 1;
        *count <= CUT_OF_A_KIND
    });
    shuffled
}

/// Every truncation, and one changed byte in each; how many that were.
fn cut_and_flip(entry: &Entry, seed: &[u8], fresh: u64) -> usize {
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
    cuts + 2
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
