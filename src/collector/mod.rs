//! The centre: what arrives is checked, logged durably, acknowledged, and given to the sinks.

pub mod ledger;
pub mod log;
