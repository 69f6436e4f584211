//! What the process says of itself: figures, health, and a log that nobody can forge.
//!
//! | file | what |
//! |---|---|
//! | [`counters`] | figures that the wiring moves and [`Counters::status`] reads |
//! | [`status`] | one moment of them, as text and as JSON |
//! | [`latency`] | how long transactions take from their commit, as a histogram |
//! | [`metrics`] | an agent's status as Prometheus reads it |
//! | [`exposition`] | Prometheus' text format |
//! | [`http`] | `/metrics`, `/healthz` and `/status` |
//! | [`health`] | whether there is progress, and if not, why |
//! | [`logger`] | the log's lines |
//! | [`socket`] | the local socket on which a running agent tells its status |
//! | [`watch`] | the pages as the configuration wants them |
//! | [`signals`] | the operator's wishes: to stop, to read the configuration again |
//! | [`notify`] | what systemd is told |
//! | [`utc`] | times as people write them |
//!
//! Health is progress, not a process that exists: "source heard, backlog acknowledged, both within
//! the last minute". No figure holds a row's content or a secret.

pub mod counters;
pub mod exposition;
pub mod health;
pub mod http;
pub mod latency;
pub mod logger;
pub mod metrics;
pub mod notify;
pub mod signals;
pub mod socket;
pub mod status;
pub mod utc;
pub mod watch;

pub use counters::Counters;
pub use status::Status;
