//! SHELL: rows → sealed batches: how fast.

use super::cutting::{Cut, Images, batches};
use super::decoding::best;
use super::figures::Figures;
use super::log::Log;

/// So many plain bytes of a batch.
const CUT_BYTES: usize = 64 << 10;

pub(crate) fn run(load: &str, log: &Log, figures: &mut Figures) {
    let seconds = best(|| batches(log, Cut::Bytes(CUT_BYTES), Images::Full, |_, _| ()));
    figures.put(load, "decode + batch + seal, rows/s", log.rows as f64 / seconds);
}
