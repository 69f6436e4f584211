//! The centre: what arrives is checked, logged durably, acknowledged, and given to the sinks.

pub mod desk;
pub mod feed;
pub mod intake;
pub mod ledger;
#[cfg(test)]
mod link_tests;
pub mod log;
pub mod pki;
pub mod serve;
