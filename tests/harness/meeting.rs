//! Agent and collector meet at a real broker that is killed, with all that it holds, in mid-stream.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::agree;
use super::broker::{Broker, Kind};
use super::pipeline::Pipeline;
use super::server::Server;
use super::workload::Workload;

/// What happens.
pub struct Meeting<'a> {
    pub kind: Kind,
    /// The agent connects by QUIC, else by TLS.
    pub agent_quic: bool,
    /// The collector, likewise.
    pub collector_quic: bool,
    /// The broker's largest packet.
    pub packet_bytes_max: u32,
    /// What else stands in the collector's section `[broker]`.
    pub more: &'a str,
    /// How many rows of 1 KB to `photo_bytes_max` are written, with small transactions between them.
    pub photos: u32,
    pub photo_bytes_max: usize,
    /// How often the broker is killed meanwhile.
    pub kills: u32,
    pub patience: Duration,
}

/// What was seen.
pub struct Seen {
    pub transactions: u64,
    pub lines: usize,
    /// Bytes of the large rows.
    pub photo_bytes: usize,
    pub took: Duration,
    /// The collector's log.
    pub collector: String,
    /// The agent's.
    pub agent: String,
}

impl Meeting<'_> {
    /// Holds it on a server of its own; panics unless everything arrives once, in order.
    pub fn hold(&self, server: &Server) -> Seen {
        let start = Instant::now();
        let mut pipeline = Pipeline::with_keys();
        let mut broker = Broker::start(self.kind, &pipeline.path("pki"), self.packet_bytes_max);
        let at = |quic: bool| if quic { broker.quic() } else { broker.tls() };
        let (agent, collector) = (at(self.agent_quic), at(self.collector_quic));
        pipeline.meet_at_broker(server, &agent, &collector, self.more);
        pipeline.start_collector();
        pipeline.start_agent();
        let mut workload = Workload::new(server, fastrand::u64(..));
        let mut photo_bytes = 0;
        for number in 1..=self.photos {
            let largest = (self.photo_bytes_max as f64 / 1000.0).log2();
            let bytes = (1000.0 * (fastrand::f64() * largest).exp2()) as usize;
            // The largest is always among them.
            let bytes = if number == self.photos { self.photo_bytes_max } else { bytes };
            workload.photo(bytes);
            photo_bytes += bytes;
            for _ in 0..5 {
                workload.step();
            }
            let part = self.photos / (self.kills + 1);
            if number.is_multiple_of(part.max(1)) && number / part.max(1) <= self.kills {
                // Enough is under way, and not all has arrived.
                sleep(Duration::from_millis(fastrand::u64(50..400)));
                broker.kill();
                sleep(Duration::from_millis(300));
                broker.run();
            }
        }
        let mark = workload.mark();
        self.wait(&mut pipeline, &broker, &mark);
        let agreement = agree::check(server, &pipeline.lines(), workload.changes)
            .unwrap_or_else(|what| panic!("{what}\n{}\n{}", pipeline.said(), broker.said()));
        let log = |name: &str| std::fs::read_to_string(pipeline.path(name)).unwrap_or_default();
        Seen {
            transactions: workload.transactions,
            lines: agreement.lines,
            photo_bytes,
            took: start.elapsed(),
            collector: log("collector.log"),
            agent: log("agent.log"),
        }
    }

    fn wait(&self, pipeline: &mut Pipeline, broker: &Broker, mark: &str) {
        let (start, wanted) = (Instant::now(), format!("\"{mark}\""));
        while !pipeline.lines().contains(&wanted) {
            pipeline.agent().must_run();
            pipeline.collector().must_run();
            if start.elapsed() > self.patience {
                panic!("{mark} has not arrived\n{}\nbroker: {}", pipeline.said(), broker.said());
            }
            sleep(Duration::from_millis(300));
        }
    }
}
