//! SHELL: the intake's thread: groups batches, logs them, then answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{error, warn};

use crate::batch::Limits;
use crate::telemetry::logger::now_us;

use super::elsewhere::Elsewhere;
use super::feed::Signals;
use super::figures::Pulse;
use super::hall::Hall;
use super::intake::{Inbound, Intake};
use super::log::{Log, LogError, Retention, Settings};
use super::reload::Retained;

/// Opens the log at `path` for writing, as it stands.
pub(super) fn open(path: &Path, limits: Limits, elsewhere: &Elsewhere) -> Result<Intake, LogError> {
    let intake = Intake::open(Log::open(path, Settings::default())?, limits)?;
    Ok(intake.beside(elsewhere.clone()))
}

/// What the log's retention goes by.
pub(super) struct Keep {
    pub(super) path: PathBuf,
    pub(super) batches: Limits,
    pub(super) elsewhere: Elsewhere,
    pub(super) passed: Vec<Arc<AtomicU64>>,
    pub(super) retained: Arc<Retained>,
    pub(super) pulse: Arc<Pulse>,
}

impl Keep {
    fn retention(&self) -> Retention {
        let passed = self.passed.iter().map(|passed| passed.load(Ordering::Relaxed)).min();
        Retention {
            passed: passed.unwrap_or(0),
            bytes_max: self.retained.bytes_max.load(Ordering::Relaxed),
            age_s_max: self.retained.age_s_max.load(Ordering::Relaxed),
        }
    }
}

/// Runs until the line is closed.
pub(super) fn run(mut intake: Intake, hall: &Hall, signals: &Signals, keep: &Keep) {
    let mut pruned = Instant::now();
    measure(&mut intake, hall);
    while let Some(jobs) = hall.line.group(PRUNE_EVERY) {
        if jobs.is_empty() {
            keep.pulse.beat(Instant::now());
            prune(&mut intake, hall, keep, &mut pruned);
            continue;
        }
        // A message is shared, not copied.
        let inbound: Vec<Inbound> = jobs.iter().map(|job| job.inbound.clone()).collect();
        let taken = loop {
            match intake.take(&inbound, Instant::now()) {
                Ok(taken) => break taken,
                Err(error) => {
                    keep.pulse.fails(&format!("nothing is taken in: {error}"));
                    error!("nothing is taken in now: {error}; next try in {} s", RETRY.as_secs());
                }
            }
            // What the disk has must be looked at anew; the log can be open only once.
            let fragments = intake.into_fragments();
            let reopened = loop {
                if hall.line.is_closed() {
                    return;
                }
                std::thread::sleep(RETRY);
                match open(&keep.path, keep.batches, &keep.elsewhere) {
                    Ok(intake) => break intake,
                    Err(error) => error!("the log cannot be opened: {error}"),
                }
            };
            intake = reopened.with_fragments(fragments);
        };
        signals.bell.ring();
        keep.pulse.beat(Instant::now());
        hall.figures.took(&taken, now_us());
        hall.figures.journal_is(intake.log().last(), None);
        drop(inbound);
        hall.answer(jobs, taken);
        prune(&mut intake, hall, keep, &mut pruned);
    }
}

/// Forgets what is old, now and then.
fn prune(intake: &mut Intake, hall: &Hall, keep: &Keep, pruned: &mut Instant) {
    if pruned.elapsed() < PRUNE_EVERY {
        return;
    }
    *pruned = Instant::now();
    if let Err(error) = intake.log().prune(keep.retention()) {
        warn!("the log cannot be pruned: {error}");
    }
    measure(intake, hall);
}

fn measure(intake: &mut Intake, hall: &Hall) {
    let log = intake.log();
    hall.figures.journal_is(log.last(), log.bytes().ok());
}

const RETRY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(10);
