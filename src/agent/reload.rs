//! SHELL: what of its configuration an agent takes over while it runs.

use smol::channel::Sender;

use crate::config::agent::Config;
use crate::config::reload::Live;
use crate::telemetry::logger;
use crate::telemetry::watch::{self, Watch};
use crate::uplink::BudgetLimits;

use super::settings;

/// The settings that count at once.
pub(super) fn live<'a>(
    watch: &'a mut Watch,
    budget: &'a Sender<BudgetLimits>,
) -> [Live<'a, Config>; 3] {
    [
        Live::new(logger::SETTINGS, |config: &Config| logger::change(config.log)),
        Live::trying(watch::SETTINGS, |config: &Config| watch.change(&config.telemetry)),
        Live::trying(BUDGET, |config: &Config| budget.try_send(settings::budget(config))),
    ]
}

const BUDGET: &[&str] =
    &["uplink.bytes_per_day", "uplink.bytes_per_hour", "uplink.bytes_per_second"];
