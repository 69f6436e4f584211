//! SHELL: what an operator changes while the collector runs: SIGHUP, the file again, and what of it counts at
//! once. Certificates and the deny list are followed on disk without it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use smol::channel::Receiver;

use crate::config::collector::{Config, Journal};
use crate::config::reload::Reread;
use crate::telemetry::logger;
use crate::telemetry::watch::Watch;

/// The settings that count at once.
pub const LIVE: &[&str] = &[
    "journal.age_max",
    "journal.bytes_max",
    "log.format",
    "log.level",
    "telemetry.allow_remote",
    "telemetry.listen",
];

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

/// For as long as it is polled: does what is wished.
pub(super) async fn follow(
    wishes: &Receiver<()>,
    reread: &mut dyn FnMut() -> Option<Reread<Config>>,
    watch: &mut Watch,
    retained: &Retained,
) -> Infallible {
    while wishes.recv().await.is_ok() {
        let Some(reread) = reread() else { continue };
        let config = &reread.config;
        logger::change(config.log);
        watch.change(&config.telemetry);
        retained.change(&config.journal);
        reread.tell();
    }
    std::future::pending().await
}
