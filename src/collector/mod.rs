//! The centre: what arrives is checked, logged durably, acknowledged, and given to the sinks.

mod conversation;
pub mod desk;
mod doors;
pub mod feed;
mod hall;
pub mod intake;
pub mod ledger;
#[cfg(test)]
mod link_tests;
pub mod log;
pub mod pki;
pub mod serve;
mod writer;
