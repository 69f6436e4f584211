<<<<<<< HEAD
//! The centre: what arrives is checked, logged durably, acknowledged, and given to the sinks.

pub mod ledger;
pub mod log;
=======
//! The centre: who may connect, and what becomes of what they send.

#[cfg(test)]
mod link_tests;
pub mod pki;
>>>>>>> link
