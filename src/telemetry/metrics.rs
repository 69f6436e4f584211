//! An agent's [`Status`] as Prometheus reads it. The agent serves its own, without a label; a collector those
//! of all agents that told theirs, with the label `agent`.
//!
//! What an agent cannot know (the round-trip time over TCP, a budget without limit) has no sample.

use super::exposition::{Kind, Labels, Page, Value};
use super::status::{Disk, State, Status};

use Kind::{Counter, Gauge};
use Value::{Count, Flag, Ms, Us};

/// One line of the table.
struct Metric {
    /// Behind [`PREFIX`].
    name: &'static str,
    /// A further label, for families of several samples: their lines stand together.
    label: Option<(&'static str, &'static str)>,
    kind: Kind,
    help: &'static str,
    read: fn(&Status) -> Option<Value>,
}

const fn metric(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    read: fn(&Status) -> Option<Value>,
) -> Metric {
    Metric { name, label: None, kind, help, read }
}

/// A further sample of the family above it.
const fn with(
    label: (&'static str, &'static str),
    name: &'static str,
    help: &'static str,
    read: fn(&Status) -> Option<Value>,
) -> Metric {
    Metric { name, label: Some(label), kind: Gauge, help, read }
}

/// Before each name.
const PREFIX: &str = "rivulet_agent_";
const LATENCY: &str = "rivulet_agent_commit_to_acknowledged_seconds";
const TROUBLE: &str = "Whether the buffer's disk is in this trouble.";
const USED: &str = "Bytes sent in this hour or day of UTC, where that is limited.";
const LIMIT: &str = "Bytes that may be sent in a second, an hour or a day, where that is limited.";

const METRICS: [Metric; 47] = [
    metric(Gauge, "uptime_seconds", "Since the agent's start.", |s| Some(Ms(s.uptime_ms))),
    metric(Gauge, "healthy", "Whether there is progress: /healthz says why not.", |s| {
        Some(Flag(s.healthy))
    }),
    metric(
        Gauge,
        "stopped",
        "Whether reading ended because going on would lose or falsify data.",
        |s| Some(Flag(s.stopped.is_some())),
    ),
    metric(Gauge, "source_connected", "Whether the source is connected.", |s| {
        Some(Flag(s.source.state == State::Connected))
    }),
    metric(Gauge, "source_silent_seconds", "Since the source's last sign of life.", |s| {
        Some(Ms(s.source.silent_ms))
    }),
    metric(Counter, "source_events_total", "Binlog events read.", |s| Some(Count(s.source.events))),
    metric(Counter, "source_transactions_total", "Transactions read.", |s| {
        Some(Count(s.source.transactions))
    }),
    metric(Counter, "source_rows_total", "Row changes read.", |s| Some(Count(s.source.rows))),
    metric(
        Counter,
        "source_left_out_total",
        "Changes left out because they were logged as statements.",
        |s| Some(Count(s.source.left_out)),
    ),
    metric(
        Gauge,
        "source_last_commit_timestamp_seconds",
        "When the transaction read last was committed, by its server's clock.",
        |s| Some(Us(s.source.last_commit_us)).filter(|_| s.source.last_commit_us > 0),
    ),
    metric(Gauge, "source_lag_seconds", "How old that transaction was when it was read.", |s| {
        Some(Ms(s.source.lag_ms)).filter(|_| s.source.last_commit_us > 0)
    }),
    metric(Counter, "batches_staged_total", "Batches written to the buffer.", |s| {
        Some(Count(s.batches.staged))
    }),
    metric(Counter, "batches_sent_total", "Batches sent, repetitions included.", |s| {
        Some(Count(s.batches.sent))
    }),
    metric(
        Counter,
        "batches_acknowledged_total",
        "Batches that the collector has made durable.",
        |s| Some(Count(s.batches.acknowledged)),
    ),
    metric(Counter, "batch_plain_bytes_total", "Bytes of batches before compression.", |s| {
        Some(Count(s.batches.bytes_raw))
    }),
    metric(Counter, "batch_compressed_bytes_total", "Bytes of batches after compression.", |s| {
        Some(Count(s.batches.bytes_compressed))
    }),
    metric(Gauge, "buffer_epoch", "The epoch of the buffer's batches.", |s| {
        Some(Count(s.buffer.epoch))
    }),
    metric(Gauge, "buffer_staged_sequence", "The last batch of the epoch.", |s| {
        Some(Count(s.buffer.staged))
    }),
    metric(
        Gauge,
        "buffer_acknowledged_sequence",
        "The last batch of the epoch that the collector has made durable.",
        |s| Some(Count(s.buffer.acknowledged)),
    ),
    metric(Gauge, "buffer_batches", "Batches that the collector does not have yet.", |s| {
        Some(Count(s.buffer.batches))
    }),
    metric(Gauge, "buffer_rows", "Row changes in them.", |s| Some(Count(s.buffer.rows))),
    metric(
        Gauge,
        "buffer_prepared_transactions",
        "XA transactions that are prepared and not ended.",
        |s| Some(Count(s.buffer.prepared)),
    ),
    metric(Gauge, "buffer_bytes", "Bytes of the buffer's files.", |s| Some(Count(s.buffer.bytes))),
    metric(Gauge, "buffer_limit_bytes", "Their limit.", |s| Some(Count(s.buffer.bytes_max))),
    metric(Gauge, "buffer_paused", "Whether reading pauses because the buffer is full.", |s| {
        Some(Flag(s.buffer.paused))
    }),
    with(("trouble", "slow"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Slow)),
    with(("trouble", "full"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Full)),
    with(("trouble", "read-only"), "buffer_disk", TROUBLE, |s| disk(s, Disk::ReadOnly)),
    with(("trouble", "failing"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Failing)),
    with(("trouble", "locked"), "buffer_disk", TROUBLE, |s| disk(s, Disk::Locked)),
    metric(Gauge, "link_connected", "Whether the link stands.", |s| {
        Some(Flag(s.link.state == State::Connected))
    }),
    metric(
        Gauge,
        "link_over_budget",
        "Whether the link is closed until the next hour or day of its budget.",
        |s| Some(Flag(s.link.state == State::OverBudget)),
    ),
    metric(
        Gauge,
        "link_silent_seconds",
        "Since the collector last acknowledged something, or the link came about.",
        |s| Some(Ms(s.link.silent_ms)),
    ),
    metric(Gauge, "link_heard_seconds", "Since anything was heard of the other end.", |s| {
        Some(Ms(s.link.heard_ms))
    }),
    metric(Counter, "link_reconnects_total", "Connections after the first.", |s| {
        Some(Count(s.link.reconnects))
    }),
    metric(Counter, "link_given_bytes_total", "Bytes given to the link.", |s| {
        Some(Count(s.batches.bytes_sent))
    }),
    metric(
        Counter,
        "link_wire_bytes_total",
        "Bytes sent with everything that the link adds: headers, handshakes, repetitions.",
        |s| Some(Count(s.link.wire_bytes)),
    ),
    metric(Counter, "link_packets_total", "QUIC packets sent.", |s| {
        Some(Count(s.link.packets_sent))
    }),
    metric(Counter, "link_packets_lost_total", "QUIC packets of these that were lost.", |s| {
        Some(Count(s.link.packets_lost))
    }),
    metric(Gauge, "link_rtt_seconds", "The round-trip time; over QUIC only.", |s| {
        Some(Us(s.link.path?.rtt_us))
    }),
    metric(
        Gauge,
        "link_congestion_window_bytes",
        "Bytes that may be under way; over QUIC only.",
        |s| Some(Count(s.link.path?.window_bytes)),
    ),
    metric(Gauge, "link_mtu_bytes", "The largest datagram that passes; over QUIC only.", |s| {
        Some(Count(s.link.path?.mtu_bytes))
    }),
    with(("period", "hour"), "budget_used_bytes", USED, |s| Some(Count(s.budget.hour?.bytes))),
    with(("period", "day"), "budget_used_bytes", USED, |s| Some(Count(s.budget.day?.bytes))),
    with(("period", "second"), "budget_limit_bytes", LIMIT, |s| {
        s.budget.second_bytes_max.map(Count)
    }),
    with(("period", "hour"), "budget_limit_bytes", LIMIT, |s| {
        Some(Count(s.budget.hour?.bytes_max))
    }),
    with(("period", "day"), "budget_limit_bytes", LIMIT, |s| Some(Count(s.budget.day?.bytes_max))),
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
    let mut family = "";
    for metric in &METRICS {
        let name = format!("{PREFIX}{}", metric.name);
        if metric.name != family {
            page.family(&name, metric.kind, metric.help);
            family = metric.name;
        }
        for (labels, status) in agents {
            if let Some(value) = (metric.read)(status) {
                page.sample(&name, &[*labels, metric.label.as_slice()].concat(), value);
            }
        }
    }
    let help = "From a transaction's commit to the collector's acknowledgement, for those read since the start.";
    page.family(LATENCY, Kind::Histogram, help);
    for (labels, status) in agents {
        page.histogram(LATENCY, labels, &status.latency);
    }
}

#[cfg(test)]
mod tests {
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
        for Metric { name, kind, label, .. } in &METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert!(!name.contains("_ms") && !name.contains("kib"), "base units: {name}");
            assert!(label.is_none() || *kind == Gauge);
        }
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
