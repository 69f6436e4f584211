//! The centre: takes batches from agents, makes them durable, acknowledges, and feeds the sinks.

pub mod ledger;
