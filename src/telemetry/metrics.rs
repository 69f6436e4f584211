//! An agent's [`Status`] as Prometheus reads it. The agent serves its own, without a label; a collector those
//! of all agents that told theirs, with the label `agent`.
//!
//! What an agent cannot know (the round-trip time over TCP, a budget without limit) has no sample.

use super::exposition::{Kind, Labels, Page, Row, Value};
use super::status::{Disk, State, Status};

use Kind::{Counter, Gauge};
use Value::{Count, Flag, Ms, Us};

/// Before each name.
const PREFIX: &str = "rivulet_agent_";
const LATENCY: &str = "rivulet_agent_commit_to_acknowledged_seconds";
const TROUBLE: &str = "Whether the buffer's disk is in this trouble.";
const USED: &str = "Bytes sent in this hour or day of UTC, where that is limited.";
const LIMIT: &str = "Bytes that may be sent in a second, an hour or a day, where that is limited.";

const METRICS: [Row<Status>; 47] = [
    Row::new(Gauge, "uptime_seconds", "Since the agent's start.", |s| Some(Ms(s.uptime_ms))),
    Row::new(Gauge, "healthy", "Whether there is progress: /healthz says why not.", |s| {
        Some(Flag(s.healthy))
    }),
    Row::new(
        Gauge,
        "stopped",
        "Whether reading ended because going on would lose or falsify data.",
        |s| Some(Flag(s.stopped.is_some())),
    ),
    Row::new(Gauge, "source_connected", "Whether the source is connected.", |s| {
        Some(Flag(s.source.state == State::Connected))
    }),
    Row::new(Gauge, "source_silent_seconds", "Since the source's last sign of life.", |s| {
        Some(Ms(s.source.silent_ms))
    }),
    Row::new(Counter, "source_events_total", "Binlog events read.", |s| {
        Some(Count(s.source.events))
    }),
    Row::new(Counter, "source_transactions_total", "Transactions read.", |s| {
        Some(Count(s.source.transactions))
    }),
    Row::new(Counter, "source_rows_total", "Row changes read.", |s| Some(Count(s.source.rows))),
    Row::new(
        Counter,
        "source_left_out_total",
        "Changes left out because they were logged as statements.",
        |s| Some(Count(s.source.left_out)),
    ),
    Row::new(
        Gauge,
        "source_last_commit_timestamp_seconds",
        "When the transaction read last was committed, by its server's clock.",
        |s| Some(Us(s.source.last_commit_us)).filter(|_| s.source.last_commit_us > 0),
    ),
    Row::new(Gauge, "source_lag_seconds", "How old that transaction was when it was read.", |s| {
        Some(Ms(s.source.lag_ms)).filter(|_| s.source.last_commit_us > 0)
    }),
    Row::new(Counter, "batches_staged_total", "Batches written to the buffer.", |s| {
        Some(Count(s.batches.staged))
    }),
    Row::new(Counter, "batches_sent_total", "Batches sent, repetitions included.", |s| {
        Some(Count(s.batches.sent))
    }),
    Row::new(
        Counter,
        "batches_acknowledged_total",
        "Batches that the collector has made durable.",
        |s| Some(Count(s.batches.acknowledged)),
    ),
    Row::new(Counter, "batch_plain_bytes_total", "Bytes of batches before compression.", |s| {
        Some(Count(s.batches.bytes_raw))
    }),
    Row::new(Counter, "batch_compressed_bytes_total", "Bytes of batches after compression.", |s| {
        Some(Count(s.batches.bytes_compressed))
    }),
    Row::new(Gauge, "buffer_epoch", "The epoch of the buffer's batches.", |s| {
        Some(Count(s.buffer.epoch))
    }),
    Row::new(Gauge, "buffer_staged_sequence", "The last batch of the epoch.", |s| {
        Some(Count(s.buffer.staged))
    }),
    Row::new(
        Gauge,
        "buffer_acknowledged_sequence",
        "The last batch of the epoch that the collector has made durable.",
        |s| Some(Count(s.buffer.acknowledged)),
    ),
    Row::new(Gauge, "buffer_batches", "Batches that the collector does not have yet.", |s| {
        Some(Count(s.buffer.batches))
    }),
    Row::new(Gauge, "buffer_rows", "Row changes in them.", |s| Some(Count(s.buffer.rows))),
    Row::new(
        Gauge,
        "buffer_prepared_transactions",
        "XA transactions that are prepared and not ended.",
        |s| Some(Count(s.buffer.prepared)),
    ),
    Row::new(Gauge, "buffer_bytes", "Bytes of the buffer's files.", |s| {
        Some(Count(s.buffer.bytes))
    }),
    Row::new(Gauge, "buffer_limit_bytes", "Their limit.", |s| Some(Count(s.buffer.bytes_max))),
    Row::new(Gauge, "buffer_paused", "Whether reading pauses because the buffer is full.", |s| {
        Some(Flag(s.buffer.paused))
    }),
    Row::with(("trouble", "slow"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Slow)),
    Row::with(("trouble", "full"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Full)),
    Row::with(("trouble", "read-only"), "buffer_disk", TROUBLE, |s| disk(s, Disk::ReadOnly)),
    Row::with(("trouble", "failing"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Failing)),
    Row::with(("trouble", "locked"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Locked)),
    Row::new(Gauge, "link_connected", "Whether the link stands.", |s| {
        Some(Flag(s.link.state == State::Connected))
    }),
    Row::new(
        Gauge,
        "link_over_budget",
        "Whether the link is closed until the next hour or day of its budget.",
        |s| Some(Flag(s.link.state == State::OverBudget)),
    ),
    Row::new(
        Gauge,
        "link_silent_seconds",
        "Since the collector last acknowledged something, or the link came about.",
        |s| Some(Ms(s.link.silent_ms)),
    ),
    Row::new(Gauge, "link_heard_seconds", "Since anything was heard of the other end.", |s| {
        Some(Ms(s.link.heard_ms))
    }),
    Row::new(Counter, "link_reconnects_total", "Connections after the first.", |s| {
        Some(Count(s.link.reconnects))
    }),
    Row::new(Counter, "link_given_bytes_total", "Bytes given to the link.", |s| {
        Some(Count(s.batches.bytes_sent))
    }),
    Row::new(
        Counter,
        "link_wire_bytes_total",
        "Bytes sent with everything that the link adds: headers, handshakes, repetitions.",
        |s| Some(Count(s.link.wire_bytes)),
    ),
    Row::new(Counter, "link_packets_total", "QUIC packets sent.", |s| {
        Some(Count(s.link.packets_sent))
    }),
    Row::new(Counter, "link_packets_lost_total", "QUIC packets of these that were lost.", |s| {
        Some(Count(s.link.packets_lost))
    }),
    Row::new(Gauge, "link_rtt_seconds", "The round-trip time; over QUIC only.", |s| {
        Some(Us(s.link.path?.rtt_us))
    }),
    Row::new(
        Gauge,
        "link_congestion_window_bytes",
        "Bytes that may be under way; over QUIC only.",
        |s| Some(Count(s.link.path?.window_bytes)),
    ),
    Row::new(Gauge, "link_mtu_bytes", "The largest datagram that passes; over QUIC only.", |s| {
        Some(Count(s.link.path?.mtu_bytes))
    }),
    Row::with(("period", "hour"), "budget_used_bytes", USED, |s| Some(Count(s.budget.hour?.bytes))),
    Row::with(("period", "day"), "budget_used_bytes", USED, |s| Some(Count(s.budget.day?.bytes))),
    Row::with(("period", "second"), "budget_limit_bytes", LIMIT, |s| {
        s.budget.second_bytes_max.map(Count)
    }),
    Row::with(("period", "hour"), "budget_limit_bytes", LIMIT, |s| {
        Some(Count(s.budget.hour?.bytes_max))
    }),
    Row::with(("period", "day"), "budget_limit_bytes", LIMIT, |s| {
        Some(Count(s.budget.day?.bytes_max))
    }),
];

fn disk(status: &Status, disk: Disk) -> Option<Value> {
    Some(Flag(status.buffer.disk == disk))
}

/// The page of one agent.
pub fn page(status: &Status) -> String {
    let mut page = Page::default();
    write(&mut page, &[(&[], status)]);
    page.into_text()
}

/// Adds the families of agents, each with its own labels.
pub fn write(page: &mut Page, agents: &[(&Labels<'_>, &Status)]) {
    let info = format!("{PREFIX}info");
    page.family(&info, Gauge, "1, and who the agent is.");
    for (labels, status) in agents {
        let own = [("version", status.version.as_str()), ("name", status.agent.as_str())];
        page.sample(&info, &[*labels, &own].concat(), Count(1));
    }
    page.table(PREFIX, &METRICS, agents);
    let help = "From a transaction's commit to the collector's acknowledgement, for those read since the start.";
    page.family(LATENCY, Kind::Histogram, help);
    for (labels, status) in agents {
        page.histogram(LATENCY, labels, &status.latency);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition;
    use super::super::status::{Path, Share};
    use super::*;

    #[test]
    fn what_is_not_known_has_no_sample() {
        let mut status = Status::default();
        let text = page(&status);
        for absent in [
            "link_rtt_seconds ",
            "budget_used_bytes{",
            "source_lag_seconds ",
            "budget_limit_bytes{",
        ] {
            assert!(!text.contains(&format!("\nrivulet_agent_{absent}")), "{absent}");
        }
        status.link.path = Some(Path { rtt_us: 60_250, window_bytes: 1, mtu_bytes: 1452 });
        status.budget.day = Some(Share { bytes: 5, bytes_max: 9 });
        let text = page(&status);
        assert!(text.contains("\nrivulet_agent_link_rtt_seconds 0.060250\n"), "{text}");
        assert!(text.contains("\nrivulet_agent_budget_used_bytes{period=\"day\"} 5\n"), "{text}");
        assert!(text.contains("\nrivulet_agent_buffer_disk{trouble=\"full\"} 0\n"), "{text}");
    }

    #[test]
    fn names_tell_what_they_are() {
        exposition::tests::names_tell_what_they_are(&METRICS);
    }

    #[test]
    fn families_stand_together_with_all_agents() {
        let mut text = Page::default();
        let status = Status::default();
        let (a, b) = ([("agent", "a")], [("agent", "b")]);
        write(&mut text, &[(&a, &status), (&b, &status)]);
        let text = text.into_text();
        let mut seen = std::collections::HashSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            assert!(seen.insert(line), "twice: {line}");
        }
        assert!(text.contains(
            "gauge\nrivulet_agent_healthy{agent=\"a\"} 0\nrivulet_agent_healthy{agent=\"b\"} 0\n#"
        ));
    }
}
