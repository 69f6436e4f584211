//! What the exams share: real servers, our own programs as processes, and what both hold in the end.
//!
//! ```text
//!   Server ──sql──► tables ──select──► Rows ◄──┐ must be equal
//!     │ binlog                                 │
//!     └──► rivulet ──► rivulet-collector ──► JSON lines ──replay──► Rows
//! ```
//!
//! Nothing here is a mock. Every process that is started dies with the value that stands for it, and
//! a server also dies with the process that started it.

// Each exam uses its part of this.
#![allow(dead_code, unreachable_pub)]

pub mod agree;
pub mod broker;
#[cfg(feature = "collector")]
pub mod fleet;
pub mod follow;
pub mod json;
pub mod meeting;
pub mod mixed;
pub mod pipeline;
pub mod process;
pub mod relay;
pub mod replay;
pub mod rough;
pub mod server;
pub mod session;
pub mod steady;
pub mod tables;
pub mod workload;
