//! What the process says of itself: figures, health, and a log that nobody can forge.
//!
//! | file | what |
//! |---|---|
//! | [`counters`] | figures that the wiring moves and [`Counters::status`] reads |
//! | [`status`] | one moment of them, as text and as JSON |
//! | [`health`] | whether there is progress, and if not, why |
//! | [`logger`] | the log's lines |
//! | [`socket`] | the local socket on which a running agent tells its status |
//! | [`signals`] | the operator's wish to stop |
//! | [`notify`] | what systemd is told |
//! | [`utc`] | times as people write them |
//!
//! Health is progress, not a process that exists: "source heard, backlog acknowledged, both within
//! the last minute". No figure holds a row's content or a secret.

pub mod counters;
pub mod health;
pub mod logger;
pub mod notify;
pub mod signals;
pub mod socket;
pub mod status;
pub mod utc;

pub use counters::Counters;
pub use status::Status;
