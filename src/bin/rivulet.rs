//! The edge's command line.

fn main() {}
