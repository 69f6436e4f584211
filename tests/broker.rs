//! The way through a broker, with Mosquitto over TLS: fragments, an ACL, a broker that loses everything.
//! `make interop` does the same at length, with other brokers, over QUIC too.

#![allow(unreachable_pub)]

mod harness;

use std::time::Duration;

use harness::broker::Kind;
use harness::meeting::Meeting;
use harness::server::{Flavour, Server};

#[test]
fn everything_arrives_once_through_a_broker_that_loses_everything() {
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let meeting = Meeting {
        kind: Kind::Mosquitto,
        agent_quic: false,
        collector_quic: false,
        packet_bytes_max: 100_000,
        more: "",
        photos: 12,
        photo_bytes_max: 700_000,
        kills: 1,
        patience: Duration::from_secs(90),
    };
    let seen = meeting.hold(&server);
    println!(
        "{} transactions, {} lines, {} kB of large rows in packets of {} kB at most, one broker lost: {:.1} s",
        seen.transactions,
        seen.lines,
        seen.photo_bytes / 1000,
        meeting.packet_bytes_max / 1000,
        seen.took.as_secs_f64()
    );
}
