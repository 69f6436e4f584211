//! The wiring of the edge: source → batch → buffer on one thread, buffer → uplink → link on another.

pub mod pump;
