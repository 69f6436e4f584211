//! SHELL: what an operator changes while the agent runs: SIGHUP, the file again, and what of it counts at once.

use std::convert::Infallible;

use smol::channel::{Receiver, Sender};

use crate::config::agent::Config;
use crate::config::reload::Reread;
use crate::telemetry::logger;
use crate::telemetry::watch::Watch;
use crate::uplink::BudgetLimits;

use super::settings;

/// The settings that count at once.
pub const LIVE: &[&str] = &[
    "log.format",
    "log.level",
    "telemetry.allow_remote",
    "telemetry.listen",
    "uplink.bytes_per_day",
    "uplink.bytes_per_hour",
    "uplink.bytes_per_second",
];

/// For as long as it is polled: does what is wished.
pub(super) async fn follow(
    wishes: &Receiver<()>,
    reread: &mut dyn FnMut() -> Option<Reread<Config>>,
    watch: &mut Watch,
    budget: &Sender<BudgetLimits>,
) -> Infallible {
    while wishes.recv().await.is_ok() {
        let Some(reread) = reread() else { continue };
        let config = &reread.config;
        logger::change(config.log);
        watch.change(&config.telemetry);
        if reread.taken.iter().any(|name| name.starts_with("uplink.bytes_per_")) {
            let _ = budget.try_send(settings::budget(config));
        }
        reread.tell();
    }
    std::future::pending().await
}
