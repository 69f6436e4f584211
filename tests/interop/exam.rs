//! `make interop`: agent → broker → collector over QUIC and TLS, with Mosquitto, mqtt5 and RMQTT as they are, each
//! killed with all that it holds in mid-stream; batches of 1 KB to 5 MB. Everything arrives once, in order.
//!
//! `ONLY=rmqtt` holds those whose name has this word in it; `PHOTOS=40` is how many large rows each has.

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

use std::time::Duration;

use harness::broker::Kind;
use harness::meeting::Meeting;
use harness::server::{Flavour, Server};

/// Name, broker, agent by QUIC, collector by QUIC, the broker's largest packet, the collector's other
/// settings, and what must be in its log.
type Case = (&'static str, Kind, bool, bool, u32, &'static str, Option<&'static str>);

const CASES: [Case; 8] = [
    ("mosquitto tls", Kind::Mosquitto, false, false, 1 << 20, "", None),
    ("mosquitto tls shared", Kind::Mosquitto, false, false, 1 << 20, SHARE, Some("sharing")),
    ("mosquitto tls small packets", Kind::Mosquitto, false, false, 20_000, "", None),
    ("mqtt5 quic", Kind::Mqtt5, true, true, 1 << 20, "", None),
    ("mqtt5 quic to tls shared", Kind::Mqtt5, true, false, 1 << 20, SHARE, Some("sharing")),
    ("rmqtt quic", Kind::Rmqtt, true, true, 1 << 20, "", None),
    ("rmqtt tls", Kind::Rmqtt, false, false, 1 << 20, "", None),
    // Without its plugin RMQTT grants a shared subscription and delivers nothing.
    ("rmqtt quic unshared", Kind::Rmqtt, true, true, 1 << 20, SHARE, Some("cannot be used")),
];
const SHARE: &str = "share = \"centre\"\n";

fn main() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let photos = std::env::var("PHOTOS").ok().filter(|text| !text.is_empty());
    let photos = photos.map_or(40, |text| text.parse().expect("PHOTOS is a number"));
    let mut held = 0;
    for (name, kind, agent_quic, collector_quic, packet_bytes_max, more, said) in CASES {
        if !name.contains(&only) {
            continue;
        }
        held += 1;
        let server = Server::start(Flavour::Mariadb1011, &[]);
        let meeting = Meeting {
            kind,
            agent_quic,
            collector_quic,
            packet_bytes_max,
            more,
            photos,
            photo_bytes_max: 5_000_000,
            kills: 3,
            patience: Duration::from_secs(300),
        };
        let seen = meeting.hold(&server);
        if let Some(words) = said {
            assert!(seen.collector.contains(words), "{name}: no `{words}` in {}", seen.collector);
        }
        println!(
            "{name}: {} transactions, {} lines once and in order, {:.1} MB of large rows, the broker lost {} \
             times: {:.1} s",
            seen.transactions,
            seen.lines,
            seen.photo_bytes as f64 / 1e6,
            meeting.kills,
            seen.took.as_secs_f64()
        );
    }
    assert!(held > 0, "ONLY={only} is none of them");
}
