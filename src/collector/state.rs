//! One moment of the collector, as `/status` shows it, and as Prometheus reads it. No I/O.

use serde::Serialize;

use crate::telemetry::exposition::{Kind, Labels, Page, Row, Value};
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
    /// How many entries behind that the journal has.
    pub(super) behind: u64,
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

/// Of the collector.
const FIGURES: [Row<State>; 12] = [
    Row::new(Gauge, "uptime_seconds", "Since the collector's start.", |s| Some(Ms(s.uptime_ms))),
    Row::new(Gauge, "healthy", "Whether there is progress: /healthz says why not.", |s| {
        Some(Flag(s.healthy))
    }),
    Row::new(Gauge, "agents_connected", "Agents with a connection of their own.", |s| {
        Some(Count(s.agents.iter().filter(|agent| agent.connected).count() as u64))
    }),
    Row::new(Gauge, "agents_known", "Agents of which something is known.", |s| {
        Some(Count(s.agents.len() as u64))
    }),
    Row::new(Gauge, "journal_entry", "The number of the journal's last entry.", |s| {
        Some(Count(s.journal.last))
    }),
    Row::new(Gauge, "journal_bytes", "Bytes of the journal's files.", |s| {
        Some(Count(s.journal.bytes))
    }),
    Row::new(Gauge, "journal_limit_bytes", "Above it what every sink has is forgotten.", |s| {
        Some(Count(s.journal_bytes_max))
    }),
    Row::new(Gauge, "waiting_batches", "Batches that wait to be logged.", |s| {
        Some(Count(s.waiting_batches))
    }),
    Row::new(Gauge, "memory_bytes", "Bytes of batches that arrive or wait.", |s| {
        Some(Count(s.memory_bytes))
    }),
    Row::new(Gauge, "memory_limit_bytes", "Their limit.", |s| Some(Count(s.memory_bytes_max))),
    Row::new(
        Counter,
        "refused_messages_total",
        "Messages that are no batches of their sender.",
        |s| Some(Count(s.refused)),
    ),
    Row::new(Gauge, "sinks", "Sinks.", |s| Some(Count(s.sinks.len() as u64))),
];

/// Of each sink.
const OF_SINKS: [Row<SinkState>; 3] = [
    Row::new(Gauge, "sink_entry", "The last entry of the journal that the sink has.", |sink| {
        Some(Count(sink.entry))
    }),
    Row::new(
        Gauge,
        "sink_behind_entries",
        "Entries of the journal that the sink does not have.",
        |sink| Some(Count(sink.behind)),
    ),
    Row::new(Gauge, "sink_healthy", "Whether the sink gets on.", |sink| Some(Flag(sink.healthy))),
];

/// Of each agent.
const EACH: [Row<AgentState>; 14] = [
    Row::new(Gauge, "connected", "Whether the agent has a connection of its own.", |a| {
        Some(Flag(a.connected))
    }),
    Row::new(Gauge, "through_broker", "Whether the agent comes through a broker.", |a| {
        Some(Flag(a.through_broker))
    }),
    Row::new(Gauge, "epoch", "The agent's epoch.", |a| Some(Count(a.epoch))),
    Row::new(Gauge, "sequence", "The last batch of the epoch that is durable.", |a| {
        Some(Count(a.sequence))
    }),
    Row::new(Counter, "batches_total", "Batches made durable.", |a| Some(Count(a.tally.batches))),
    Row::new(Counter, "bytes_total", "Bytes of these batches, as they came.", |a| {
        Some(Count(a.tally.bytes))
    }),
    Row::new(Counter, "transactions_total", "Transactions that end in them.", |a| {
        Some(Count(a.tally.transactions))
    }),
    Row::new(
        Counter,
        "rows_total",
        "Row changes in them, without those that were here already.",
        |a| Some(Count(a.tally.rows)),
    ),
    Row::new(Counter, "duplicates_total", "Batches that were here already.", |a| {
        Some(Count(a.tally.duplicates))
    }),
    Row::new(
        Counter,
        "gaps_total",
        "How often batches were asked for again, because one was missing.",
        |a| Some(Count(a.tally.gaps)),
    ),
    Row::new(
        Counter,
        "let_go_total",
        "How often the agent's operator let something be missing (on_gap).",
        |a| Some(Count(a.tally.let_go)),
    ),
    Row::new(
        Gauge,
        "last_commit_timestamp_seconds",
        "When the transaction that became durable last was committed, by its server's clock.",
        |a| Some(Us(a.tally.last_commit_us)).filter(|_| a.tally.last_commit_us > 0),
    ),
    Row::new(Gauge, "lag_seconds", "How old that transaction was when it became durable.", |a| {
        Some(Us(a.tally.lag_us)).filter(|_| a.tally.last_commit_us > 0)
    }),
    Row::new(Gauge, "status_age_seconds", "Since the agent told how it is.", |a| {
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
    page.table(PREFIX, &FIGURES, &[(&[], state)]);
    let labels: Vec<[(&str, &str); 1]> =
        state.sinks.iter().map(|sink| [("sink", sink.name.as_str())]).collect();
    let sinks: Vec<(&Labels<'_>, &SinkState)> =
        state.sinks.iter().zip(&labels).map(|(sink, labels)| (&labels[..], sink)).collect();
    page.table(PREFIX, &OF_SINKS, &sinks);
    let labels: Vec<[(&str, &str); 1]> =
        state.agents.iter().map(|agent| [("agent", agent.name.as_str())]).collect();
    let agents: Vec<(&Labels<'_>, &AgentState)> =
        state.agents.iter().zip(&labels).map(|(agent, labels)| (&labels[..], agent)).collect();
    page.table(PREFIX, &EACH, &agents);
    page.family(
        LATENCY,
        Kind::Histogram,
        "From a transaction's commit to its place in the journal.",
    );
    for (labels, agent) in &agents {
        page.histogram(LATENCY, labels, &agent.tally.latency);
    }
    let told = agents.iter().filter_map(|(labels, agent)| Some((*labels, agent.status.as_ref()?)));
    metrics::write(&mut page, &told.collect::<Vec<_>>());
    page.into_text()
}

#[cfg(test)]
mod tests {
    use crate::telemetry::exposition::tests::names_tell_what_they_are;

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
    fn figures_are_named_for_what_they_are() {
        names_tell_what_they_are(&FIGURES);
        names_tell_what_they_are(&OF_SINKS);
        names_tell_what_they_are(&EACH);
    }
}
