//! The centre: who may connect, and what becomes of what they send.

#[cfg(test)]
mod link_tests;
pub mod pki;
