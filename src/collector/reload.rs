//! What of its configuration a collector takes over while it runs. Certificates and the deny list are followed
//! on disk without being asked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::collector::{Config, Journal};
use crate::config::reload::Live;
use crate::telemetry::logger;
use crate::telemetry::watch::{self, Watch};

/// What of the journal is kept although every sink has it.
#[derive(Debug, Default)]
pub(super) struct Retained {
    pub(super) bytes_max: AtomicU64,
    pub(super) age_s_max: AtomicU64,
}

impl Retained {
    /// As the configuration says.
    pub(super) fn change(&self, journal: &Journal) {
        self.bytes_max.store(journal.bytes_max, Relaxed);
        self.age_s_max.store(journal.age_max.as_secs(), Relaxed);
    }
}

/// The settings that count at once.
pub(super) fn live<'a>(watch: &'a mut Watch, retained: &'a Retained) -> [Live<'a, Config>; 3] {
    [
        Live::new(logger::SETTINGS, |config: &Config| logger::change(config.log)),
        Live::trying(watch::SETTINGS, |config: &Config| watch.change(&config.telemetry)),
        Live::new(JOURNAL, |config: &Config| retained.change(&config.journal)),
    ]
}

const JOURNAL: &[&str] = &["journal.age_max", "journal.bytes_max"];
