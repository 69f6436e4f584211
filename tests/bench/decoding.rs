//! SHELL: a log in memory, framed, decoded, assembled and split into columns.

use std::hint::black_box;
use std::time::Instant;

use super::figures::Figures;
use super::log::{Item, Log};

pub(crate) fn run(load: &str, log: &Log, figures: &mut Figures) {
    let seconds = best(|| {
        log.each(|item| {
            if let Item::Row(before, after, _) = item {
                black_box((before, after));
            }
        });
    });
    figures.put(load, "decode, rows/s", log.rows as f64 / seconds);
    figures.put(load, "decode, MB/s", log.bytes.len() as f64 / 1e6 / seconds);
}

/// The fastest of five turns, seconds: what disturbs only ever slows down.
pub(crate) fn best(mut work: impl FnMut()) -> f64 {
    (0..5).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min)
}

/// One turn.
pub(crate) fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}
