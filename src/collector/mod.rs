//! The centre: what arrives is checked, logged durably, acknowledged, and given to the sinks.

mod arrivals;
pub mod assembly;
mod broker;
pub mod check;
mod conversation;
pub mod denied;
pub mod desk;
mod doors;
pub mod elsewhere;
pub mod feed;
mod figures;
mod gossip;
mod hall;
pub mod intake;
pub mod ledger;
mod line;
#[cfg(test)]
mod link_tests;
pub mod log;
mod memory;
mod pace;
pub mod pki;
mod reload;
pub mod replay;
pub mod serve;
mod stands;
mod state;
pub mod subscriber;
mod writer;
