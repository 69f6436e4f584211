//! One moment of the collector, as `/status` shows it, and as Prometheus reads it. No I/O.

use serde::Serialize;

use crate::telemetry::exposition::{Kind, Labels, Page, Value};
use crate::telemetry::metrics;
use crate::telemetry::status::Status;

use super::figures::{Journal, Tally};

use Kind::{Counter, Gauge};
use Value::{Count, Flag, Ms, Us};

/// One moment of the collector. Its JSON is this structure, field by field.
#[derive(Debug, Default, Serialize)]
pub(super) struct State {
    /// The program's version.
    pub(super) version: String,
    /// The system's number for the process.
    pub(super) pid: u32,
    /// Since the start.
    pub(super) uptime_ms: u64,
    /// Whether there is progress.
    pub(super) healthy: bool,
    /// If not, why.
    pub(super) reasons: Vec<String>,
    /// The journal.
    pub(super) journal: Journal,
    /// Its limit for what every sink has.
    pub(super) journal_bytes_max: u64,
    /// What waits for the intake.
    pub(super) waiting_batches: u64,
    /// Bytes of it, and of what is arriving.
    pub(super) memory_bytes: u64,
    /// Their limit.
    pub(super) memory_bytes_max: u64,
    /// Messages that were no batches of their sender.
    pub(super) refused: u64,
    /// Each sink.
    pub(super) sinks: Vec<SinkState>,
    /// Each agent that is known.
    pub(super) agents: Vec<AgentState>,
}

/// A sink.
#[derive(Debug, Default, Serialize)]
pub(super) struct SinkState {
    /// Its name.
    pub(super) name: String,
    /// The last entry of the journal that it has.
    pub(super) entry: u64,
    /// Whether it gets on.
    pub(super) healthy: bool,
}

/// An agent.
#[derive(Debug, Default, Serialize)]
pub(super) struct AgentState {
    /// Its name.
    pub(super) name: String,
    /// Whether it has a connection of its own.
    pub(super) connected: bool,
    /// Whether it comes through a broker.
    pub(super) through_broker: bool,
    /// Its epoch; 0 if nothing of it is here.
    pub(super) epoch: u64,
    /// The last batch of the epoch that is here.
    pub(super) sequence: u64,
    /// What came of it.
    pub(super) tally: Tally,
    /// How long ago it told its status.
    pub(super) status_age_ms: Option<u64>,
    /// What it said of itself.
    pub(super) status: Option<Status>,
}

/// A figure of the collector.
struct Figure(Kind, &'static str, &'static str, fn(&State) -> Value);

const FIGURES: [Figure; 12] = [
    Figure(Gauge, "uptime_seconds", "Since the collector's start.", |s| Ms(s.uptime_ms)),
    Figure(Gauge, "healthy", "Whether there is progress: /healthz says why not.", |s| {
        Flag(s.healthy)
    }),
    Figure(Gauge, "agents_connected", "Agents with a connection of their own.", |s| {
        Count(s.agents.iter().filter(|agent| agent.connected).count() as u64)
    }),
    Figure(Gauge, "agents_known", "Agents of which something is known.", |s| {
        Count(s.agents.len() as u64)
    }),
    Figure(Gauge, "journal_entry", "The number of the journal's last entry.", |s| {
        Count(s.journal.last)
    }),
    Figure(Gauge, "journal_bytes", "Bytes of the journal's files.", |s| Count(s.journal.bytes)),
    Figure(Gauge, "journal_limit_bytes", "Above it what every sink has is forgotten.", |s| {
        Count(s.journal_bytes_max)
    }),
    Figure(Gauge, "waiting_batches", "Batches that wait to be logged.", |s| {
        Count(s.waiting_batches)
    }),
    Figure(Gauge, "memory_bytes", "Bytes of batches that arrive or wait.", |s| {
        Count(s.memory_bytes)
    }),
    Figure(Gauge, "memory_limit_bytes", "Their limit.", |s| Count(s.memory_bytes_max)),
    Figure(
        Counter,
        "refused_messages_total",
        "Messages that are no batches of their sender.",
        |s| Count(s.refused),
    ),
    Figure(Gauge, "sinks", "Sinks.", |s| Count(s.sinks.len() as u64)),
];

/// A gauge of each sink.
struct OfSink(&'static str, &'static str, fn(&State, &SinkState) -> Value);

const OF_SINKS: [OfSink; 3] = [
    OfSink("sink_entry", "The last entry of the journal that the sink has.", |_, sink| {
        Count(sink.entry)
    }),
    OfSink(
        "sink_behind_entries",
        "Entries of the journal that the sink does not have.",
        |state, sink| Count(state.journal.last.saturating_sub(sink.entry)),
    ),
    OfSink("sink_healthy", "Whether the sink gets on.", |_, sink| Flag(sink.healthy)),
];

/// A figure of each agent.
struct Each(Kind, &'static str, &'static str, fn(&AgentState) -> Option<Value>);

const EACH: [Each; 14] = [
    Each(Gauge, "connected", "Whether the agent has a connection of its own.", |a| {
        Some(Flag(a.connected))
    }),
    Each(Gauge, "through_broker", "Whether the agent comes through a broker.", |a| {
        Some(Flag(a.through_broker))
    }),
    Each(Gauge, "epoch", "The agent's epoch.", |a| Some(Count(a.epoch))),
    Each(Gauge, "sequence", "The last batch of the epoch that is durable.", |a| {
        Some(Count(a.sequence))
    }),
    Each(Counter, "batches_total", "Batches made durable.", |a| Some(Count(a.tally.batches))),
    Each(Counter, "bytes_total", "Bytes of these batches, as they came.", |a| {
        Some(Count(a.tally.bytes))
    }),
    Each(Counter, "transactions_total", "Transactions that end in them.", |a| {
        Some(Count(a.tally.transactions))
    }),
    Each(
        Counter,
        "rows_total",
        "Row changes in them, without those that were here already.",
        |a| Some(Count(a.tally.rows)),
    ),
    Each(Counter, "duplicates_total", "Batches that were here already.", |a| {
        Some(Count(a.tally.duplicates))
    }),
    Each(
        Counter,
        "gaps_total",
        "How often batches were asked for again, because one was missing.",
        |a| Some(Count(a.tally.gaps)),
    ),
    Each(
        Counter,
        "let_go_total",
        "How often the agent's operator let something be missing (on_gap).",
        |a| Some(Count(a.tally.let_go)),
    ),
    Each(
        Gauge,
        "last_commit_timestamp_seconds",
        "When the transaction that became durable last was committed, by its server's clock.",
        |a| Some(Us(a.tally.last_commit_us)).filter(|_| a.tally.last_commit_us > 0),
    ),
    Each(Gauge, "lag_seconds", "How old that transaction was when it became durable.", |a| {
        Some(Us(a.tally.lag_us)).filter(|_| a.tally.last_commit_us > 0)
    }),
    Each(Gauge, "status_age_seconds", "Since the agent told how it is.", |a| {
        a.status_age_ms.map(Ms)
    }),
];

/// Before each name.
const PREFIX: &str = "rivulet_collector_";
const LATENCY: &str = "rivulet_collector_commit_to_durable_seconds";

/// All figures; behind those of the collector those that agents told of themselves.
pub(super) fn page(state: &State) -> String {
    let mut page = Page::default();
    let info = format!("{PREFIX}info");
    page.family(&info, Gauge, "1, and which version this is.");
    page.sample(&info, &[("version", &state.version)], Count(1));
    for Figure(kind, name, help, read) in &FIGURES {
        let name = format!("{PREFIX}{name}");
        page.family(&name, *kind, help);
        page.sample(&name, &[], read(state));
    }
    sinks(&mut page, state);
    let labels: Vec<[(&str, &str); 1]> =
        state.agents.iter().map(|agent| [("agent", agent.name.as_str())]).collect();
    for Each(kind, name, help, read) in &EACH {
        let name = format!("{PREFIX}{name}");
        page.family(&name, *kind, help);
        for (agent, labels) in state.agents.iter().zip(&labels) {
            if let Some(value) = read(agent) {
                page.sample(&name, labels, value);
            }
        }
    }
    page.family(
        LATENCY,
        Kind::Histogram,
        "From a transaction's commit to its place in the journal.",
    );
    for (agent, labels) in state.agents.iter().zip(&labels) {
        page.histogram(LATENCY, labels, &agent.tally.latency);
    }
    let told = state.agents.iter().zip(&labels);
    let told: Vec<(&Labels<'_>, &Status)> =
        told.filter_map(|(agent, labels)| Some((&labels[..], agent.status.as_ref()?))).collect();
    metrics::write(&mut page, &told);
    page.into_text()
}

fn sinks(page: &mut Page, state: &State) {
    for OfSink(name, help, read) in &OF_SINKS {
        let name = format!("{PREFIX}{name}");
        page.family(&name, Gauge, help);
        for sink in &state.sinks {
            page.sample(&name, &[("sink", &sink.name)], read(state, sink));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_has_its_own_figures_and_what_it_told() {
        let agent = |name: &str, status: Option<Status>| AgentState {
            name: name.to_owned(),
            sequence: 17,
            status,
            ..AgentState::default()
        };
        let agents = vec![agent("edge-1", Some(Status::default())), agent("edge-2", None)];
        let text = page(&State { agents, ..State::default() });
        assert!(text.contains("\nrivulet_collector_agents_known 2\n"), "{text}");
        assert!(text.contains(
            "gauge\nrivulet_collector_sequence{agent=\"edge-1\"} 17\nrivulet_collector_sequence{agent=\"edge-2\"} 17\n"
        ));
        assert!(text.contains("gauge\nrivulet_agent_healthy{agent=\"edge-1\"} 0\n# "), "{text}");
        assert!(!text.contains("rivulet_collector_lag_seconds{"), "nothing was committed");
    }

    #[test]
    fn names_tell_what_they_are() {
        let names = FIGURES.iter().map(|Figure(kind, name, ..)| (kind, name));
        for (kind, name) in names.chain(EACH.iter().map(|Each(kind, name, ..)| (kind, name))) {
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
        }
    }
}
