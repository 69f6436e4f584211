//! One moment of an agent, as `rivulet status` shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::latency::Distribution;
use super::logger::tame;
use super::utc;

/// One moment of an agent. Its JSON is this structure, field by field.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's name.
    pub agent: String,
    /// The program's version.
    pub version: String,
    /// The system's number for the process; 0 if none runs.
    #[serde(default)]
    pub pid: u32,
    /// Since the start.
    pub uptime_ms: u64,
    /// Whether there is progress.
    pub healthy: bool,
    /// If not, why.
    pub reasons: Vec<String>,
    /// Why nothing more is read, if going on would lose or falsify data.
    pub stopped: Option<String>,
    /// What was read.
    pub source: Source,
    /// What became of it.
    pub batches: Batches,
    /// What waits.
    pub buffer: Buffer,
    /// How it leaves.
    pub link: Link,
    /// What may leave.
    #[serde(default)]
    pub budget: Budget,
    /// How long transactions took from their commit to the collector's acknowledgement: those that were read
    /// since the start.
    #[serde(default)]
    pub latency: Distribution,
}

/// What was read.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The connection.
    pub state: State,
    /// Since the last sign of life; since the start if there was none.
    pub silent_ms: u64,
    /// Where reading stands, `file:offset`; empty before the first transaction.
    pub position: String,
    /// Binlog events read.
    pub events: u64,
    /// Transactions read.
    pub transactions: u64,
    /// Row changes read.
    pub rows: u64,
    /// Changes that are left out because they were logged as statements (`on_statement`).
    #[serde(default)]
    pub left_out: u64,
    /// When the last transaction was committed, microseconds since 1970; 0 if there was none.
    pub last_commit_us: u64,
    /// How old it was when it was read.
    pub lag_ms: u64,
}

/// What became of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Batches {
    /// Written to the buffer.
    pub staged: u64,
    /// Sent, repetitions included.
    pub sent: u64,
    /// Durable at the collector.
    pub acknowledged: u64,
    /// Before compression.
    pub bytes_raw: u64,
    /// After compression.
    pub bytes_compressed: u64,
    /// Given to the link, repetitions included.
    pub bytes_sent: u64,
}

/// What waits.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// The epoch of its batches.
    pub epoch: u64,
    /// The last batch of the epoch that was staged.
    pub staged: u64,
    /// The last batch of the epoch that the collector has on disk.
    pub acknowledged: u64,
    /// Batches that the collector does not yet have.
    pub batches: u64,
    /// Row changes in them.
    pub rows: u64,
    /// XA transactions that are prepared and not ended yet.
    #[serde(default)]
    pub prepared: u64,
    /// Of the buffer's files.
    pub bytes: u64,
    /// Their limit.
    pub bytes_max: u64,
    /// Whether reading pauses because the buffer is full.
    pub paused: bool,
    /// How its disk took the last write.
    #[serde(default)]
    pub disk: Disk,
}

/// How a disk takes what is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// It does.
    #[default]
    Well = 0,
    /// It does, but takes its time.
    Slow = 1,
    /// It has no space.
    Full = 2,
    /// It cannot be written.
    ReadOnly = 3,
    /// Reading, writing or syncing fails.
    Failing = 4,
    /// Another process holds the file.
    Locked = 5,
}

impl Disk {
    /// The state of a number that was a state.
    pub(super) fn of(number: u8) -> Self {
        match number {
            1 => Self::Slow,
            2 => Self::Full,
            3 => Self::ReadOnly,
            4 => Self::Failing,
            5 => Self::Locked,
            _ => Self::Well,
        }
    }

    /// Whether nothing can be written until somebody mends it.
    pub fn refuses(self) -> bool {
        !matches!(self, Self::Well | Self::Slow)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "the disk is well",
            Self::Slow => "the disk is slow",
            Self::Full => "the disk is full",
            Self::ReadOnly => "the disk is read-only",
            Self::Failing => "the disk fails",
            Self::Locked => "another process holds the file",
        })
    }
}

/// How it leaves.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The connection.
    pub state: State,
    /// Since the collector last acknowledged something, or, with nothing to acknowledge, since the
    /// link came about; since the start if there was neither.
    pub silent_ms: u64,
    /// Since anything at all was heard of the other end; since the start if nothing ever was.
    #[serde(default)]
    pub heard_ms: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// What is connected to, or tried.
    #[serde(default)]
    pub endpoint: String,
    /// All that was sent over all connections since the start, with headers and repetitions.
    #[serde(default)]
    pub wire_bytes: u64,
    /// QUIC's packets sent over all connections since the start; TCP does not tell.
    #[serde(default)]
    pub packets_sent: u64,
    /// Of these, how many were lost.
    #[serde(default)]
    pub packets_lost: u64,
    /// What QUIC measures; none over TCP or without a connection.
    #[serde(default)]
    pub path: Option<Path>,
}

/// What QUIC measures of the way to the other end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The round-trip time.
    pub rtt_us: u64,
    /// Bytes that may be under way.
    pub window_bytes: u64,
    /// The largest datagram that passes.
    pub mtu_bytes: u64,
}

/// What may leave. Absent is what is not limited.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Bytes in a second.
    pub second_bytes_max: Option<u64>,
    /// In this hour of UTC.
    pub hour: Option<Share>,
    /// In this day of UTC.
    pub day: Option<Share>,
}

/// An hour's or a day's bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Sent in it so far.
    pub bytes: u64,
    /// Its limit.
    pub bytes_max: u64,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not begun.
    #[default]
    Off = 0,
    /// Being made, or waiting for the next attempt.
    Connecting = 1,
    /// There.
    Connected = 2,
    /// All was read, and there will be no more.
    Finished = 3,
    /// Closed until the next hour or day, whose share of bytes is not used up yet.
    #[serde(rename = "over budget")]
    OverBudget = 4,
}

impl State {
    /// The state of a number that was a state.
    pub(super) fn of(number: u8) -> Self {
        match number {
            1 => Self::Connecting,
            2 => Self::Connected,
            3 => Self::Finished,
            4 => Self::OverBudget,
            _ => Self::Off,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Finished => "finished",
            Self::OverBudget => "over budget",
        })
    }
}

impl Status {
    /// The whole in one line.
    pub fn line(&self) -> String {
        let Self { source, buffer, link, .. } = self;
        let waiting = match buffer.batches {
            0 => "nothing waits".to_owned(),
            1 => "1 batch waits".to_owned(),
            batches => format!("{batches} batches wait"),
        };
        let summary = format!("source {}, link {}, {waiting}", source.state, link.state);
        let line = match self.reasons.join("; ") {
            reasons if reasons.is_empty() => format!("healthy: {summary}"),
            reasons => format!("NOT HEALTHY: {reasons} ({summary})"),
        };
        tame(&line)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = if self.healthy { "healthy" } else { "NOT HEALTHY" };
        let (agent, version) = (tame(&self.agent), tame(&self.version));
        // What no process counts is not told.
        let runs = self.pid > 0 || self.uptime_ms > 0;
        let up = if runs { format!(", up {}", Span(self.uptime_ms)) } else { String::new() };
        writeln!(f, "agent     {agent}, rivulet {version}{up}: {health}")?;
        for reason in &self.reasons {
            writeln!(f, "          - {}", tame(reason))?;
        }
        let position = &self.source.position;
        let position = if position.is_empty() { "-" } else { &tame(position) };
        if !runs {
            writeln!(f, "source    goes on at {position}")?;
            return self.buffer.fmt(f);
        }
        let (state, silent) = (self.source.state, Span(self.source.silent_ms));
        writeln!(f, "source    {state}, heard {silent} ago, at {position}")?;
        self.source.fmt(f)?;
        self.batches.fmt(f)?;
        self.buffer.fmt(f)?;
        self.link.fmt(f)?;
        self.budget.fmt(f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, rows, events, left_out, .. } = self;
        writeln!(f, "read      {transactions} transactions, {rows} rows, {events} events")?;
        if *left_out > 0 {
            writeln!(
                f,
                "          {left_out} changes that were logged as statements are left out"
            )?;
        }
        if self.last_commit_us > 0 {
            let (commit, lag) = (utc::text(self.last_commit_us), Span(self.lag_ms));
            writeln!(f, "          last commit {commit}, read {lag} later")?;
        }
        Ok(())
    }
}

impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { staged, sent, acknowledged, bytes_raw, bytes_compressed, bytes_sent } = self;
        writeln!(f, "batches   {staged} staged, {sent} sent, {acknowledged} acknowledged")?;
        writeln!(f, "bytes     {bytes_raw} raw, {bytes_compressed} compressed, {bytes_sent} sent")
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, staged, acknowledged, batches, rows, prepared, bytes, .. } = self;
        let most = match self.bytes_max {
            0 => String::new(),
            most => format!(" of {most}"),
        };
        let paused = if self.paused { "; reading pauses" } else { "" };
        let disk = match self.disk {
            Disk::Well => String::new(),
            disk => format!("; {disk}"),
        };
        writeln!(
            f,
            "buffer    epoch {epoch}: {staged} staged, {acknowledged} acknowledged; {batches} batches, \
             {rows} rows wait; {bytes}{most} bytes{paused}{disk}"
        )?;
        if *prepared > 0 {
            writeln!(f, "          {prepared} prepared XA transactions wait for their commit")?;
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, heard) = (self.state, Span(self.heard_ms));
        let to = match self.endpoint.as_str() {
            "" => String::new(),
            endpoint => format!(", {}", tame(endpoint)),
        };
        writeln!(f, "link      {state}{to}, heard {heard} ago, {} reconnects", self.reconnects)?;
        if let Some(path) = self.path {
            let (rtt, lost, sent) = (Us(path.rtt_us), self.packets_lost, self.packets_sent);
            writeln!(f, "          round trip {rtt}, {lost} of {sent} packets lost")?;
        }
        Ok(())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (share, period) in [(self.hour, "hour"), (self.day, "day")] {
            if let Some(Share { bytes, bytes_max }) = share {
                writeln!(f, "budget    {bytes} of {bytes_max} bytes of this {period}")?;
            }
        }
        Ok(())
    }
}

/// Microseconds, shown as milliseconds with a digit behind them.
pub struct Us(pub u64);

impl fmt::Display for Us {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ms", self.0 / 1000, self.0 / 100 % 10)
    }
}

/// Milliseconds, shown in the unit that suits them.
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        match seconds {
            0..10 => write!(f, "{} ms", self.0),
            10..600 => write!(f, "{seconds} s"),
            600..36_000 => write!(f, "{} min", seconds / 60),
            36_000..864_000 => write!(f, "{} h", seconds / 3600),
            _ => write!(f, "{} d", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            agent: "edge-17".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 4711,
            uptime_ms: 7_200_000,
            healthy: false,
            reasons: vec!["link: down for 75 s".to_owned()],
            stopped: None,
            source: Source {
                state: State::Connected,
                silent_ms: 120,
                position: "binlog.000042:1337".to_owned(),
                events: 400,
                transactions: 100,
                rows: 200,
                left_out: 0,
                last_commit_us: 1_795_257_314_123_000,
                lag_ms: 3,
            },
            batches: Batches {
                staged: 9,
                sent: 8,
                acknowledged: 7,
                bytes_raw: 6000,
                bytes_compressed: 500,
                bytes_sent: 450,
            },
            buffer: Buffer {
                epoch: 1,
                staged: 9,
                acknowledged: 7,
                batches: 2,
                rows: 40,
                prepared: 0,
                bytes: 4096,
                bytes_max: 1 << 29,
                paused: false,
                disk: Disk::Well,
            },
            link: Link {
                state: State::Connecting,
                silent_ms: 75_000,
                heard_ms: 70_000,
                reconnects: 4,
                endpoint: "mqtts://centre:8883".to_owned(),
                ..Link::default()
            },
            budget: Budget::default(),
            latency: Distribution::default(),
        }
    }

    #[test]
    fn what_quic_and_a_budget_tell_is_told() {
        let mut status = status();
        status.link.path = Some(Path { rtt_us: 60_250, window_bytes: 14_520, mtu_bytes: 1452 });
        (status.link.packets_sent, status.link.packets_lost) = (1000, 7);
        status.budget.hour = Some(Share { bytes: 5, bytes_max: 9 });
        let text = status.to_string();
        assert!(text.ends_with(
            "          round trip 60.2 ms, 7 of 1000 packets lost\nbudget    5 of 9 bytes of this hour\n"
        ), "{text}");
    }

    #[test]
    fn the_status_of_an_older_agent_is_understood() {
        let mut json = serde_json::to_value(status()).unwrap();
        for new in ["pid", "budget", "latency"] {
            assert!(json.as_object_mut().unwrap().remove(new).is_some());
        }
        for new in ["wire_bytes", "packets_sent", "packets_lost", "path"] {
            assert!(json["link"].as_object_mut().unwrap().remove(new).is_some());
        }
        let read: Status = serde_json::from_value(json).unwrap();
        assert_eq!(read, Status { pid: 0, ..status() });
    }

    #[test]
    fn json_brings_back_what_was_written() {
        let json = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status());
        assert!(json.contains(r#""source":{"state":"connected","silent_ms":120,"#), "{json}");
    }

    #[test]
    fn text_is_for_people() {
        assert_eq!(
            status().to_string(),
            "\
agent     edge-17, rivulet 0.1.0, up 120 min: NOT HEALTHY
          - link: down for 75 s
source    connected, heard 120 ms ago, at binlog.000042:1337
read      100 transactions, 200 rows, 400 events
          last commit 2026-11-21T10:35:14.123Z, read 3 ms later
batches   9 staged, 8 sent, 7 acknowledged
bytes     6000 raw, 500 compressed, 450 sent
buffer    epoch 1: 9 staged, 7 acknowledged; 2 batches, 40 rows wait; 4096 of 536870912 bytes
link      connecting, mqtts://centre:8883, heard 70 s ago, 4 reconnects
"
        );
    }

    #[test]
    fn of_an_agent_that_does_not_run_only_what_is_known_is_told() {
        let full = status();
        let buffer = Buffer { bytes_max: 0, prepared: 3, ..full.buffer };
        let source = Source { position: full.source.position, ..Source::default() };
        let reasons = vec!["no agent runs".to_owned()];
        let (agent, version) = ("(not running)".to_owned(), full.version);
        let glance = Status { agent, version, reasons, source, buffer, ..Status::default() };
        assert_eq!(
            glance.to_string(),
            "\
agent     (not running), rivulet 0.1.0: NOT HEALTHY
          - no agent runs
source    goes on at binlog.000042:1337
buffer    epoch 1: 9 staged, 7 acknowledged; 2 batches, 40 rows wait; 4096 bytes
          3 prepared XA transactions wait for their commit
"
        );
    }

    #[test]
    fn one_line_tells_health_and_what_waits() {
        let mut status = status();
        let summary = "source connected, link connecting, 2 batches wait";
        assert_eq!(status.line(), format!("NOT HEALTHY: link: down for 75 s ({summary})"));
        status.reasons = Vec::new();
        status.buffer.batches = 0;
        assert_eq!(status.line(), "healthy: source connected, link connecting, nothing waits");
    }

    #[test]
    fn a_reason_cannot_forge_a_line() {
        let mut status = status();
        status.reasons = vec!["no\nlink      connected\u{1b}[2J".to_owned()];
        let text = status.to_string();
        assert!(text.contains("- no\\nlink      connected\\u{1b}[2J\n"), "{text}");
    }

    #[test]
    fn a_state_survives_as_a_number() {
        for state in
            [State::Off, State::Connecting, State::Connected, State::Finished, State::OverBudget]
        {
            assert_eq!(State::of(state as u8), state);
        }
        let all = [Disk::Slow, Disk::Full, Disk::ReadOnly, Disk::Failing, Disk::Locked];
        for disk in all.into_iter().chain([Disk::Well]) {
            assert_eq!(Disk::of(disk as u8), disk);
        }
    }
}
