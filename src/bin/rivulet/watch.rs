//! SHELL: `rivulet status --watch`: one agent, seen again and again.
//!
//! A terminal shows the newest picture on a screen of its own, and gets its old one back at the end, with the
//! last picture below. Anything else gets one line each time.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rivulet::telemetry::logger::tame;
use rivulet::telemetry::signals;
use rivulet::telemetry::socket;
use rivulet::telemetry::status::{Disk, Share, Span, Status, Us};

use super::common::Failure;

/// Shows what the socket tells until SIGINT or SIGTERM, or until nobody looks any more.
pub(crate) fn run(socket: &Path, every: Duration) -> Result<(), Failure> {
    let stop = signals::stop_requests().map_err(Failure::runtime)?;
    let screen = io::stdout().is_terminal();
    let mut before: Option<(Status, Instant)> = None;
    let mut last = String::new();
    let mut shown = if screen { say(ENTER) } else { Ok(()) };
    while shown.is_ok() {
        let (asked, now) = (socket::query(socket), Instant::now());
        last = match &asked {
            Ok(status) => {
                let (old, at) = before.as_ref().map_or((status, now), |(old, at)| (old, *at));
                let time = now.saturating_duration_since(at);
                if screen { render(old, status, time) } else { line(old, status, time) }
            }
            Err(error) => format!("{}\n", tame(&error.to_string())),
        };
        shown = if screen { say(&frame(&last)) } else { say(&last) };
        before = asked.ok().map(|status| (status, now));
        while now.elapsed() < every && stop.is_empty() {
            std::thread::sleep(LOOK_EVERY.min(every));
        }
        if !stop.is_empty() {
            break;
        }
    }
    if screen {
        // Whoever closed the terminal does not want it back.
        let _ = say(&format!("{LEAVE}{last}"));
    }
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::runtime(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A picture over the one before it, without a flicker.
fn frame(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}{END_OF_LINE}\r\n")).collect();
    format!("{HOME}{lines}{REST}")
}

/// What changed in `time` between two moments of an agent.
struct Rates<'a> {
    before: &'a Status,
    now: &'a Status,
    ms: u64,
}

impl<'a> Rates<'a> {
    fn new(before: &'a Status, now: &'a Status, time: Duration) -> Self {
        // Another process has counted from zero.
        let same = before.pid == now.pid && before.uptime_ms <= now.uptime_ms;
        let ms = if same { u64::try_from(time.as_millis()).unwrap_or(u64::MAX) } else { 0 };
        Self { before, now, ms }
    }

    /// A second's share of what a figure grew by; `-` if that is not known.
    fn of(&self, read: fn(&Status) -> u64) -> String {
        let more = read(self.now).saturating_sub(read(self.before));
        match more.saturating_mul(1000).checked_div(self.ms) {
            Some(rate) => short(rate),
            None => "-".to_owned(),
        }
    }

    /// How long transactions took to be acknowledged: of these moments, or since the start if there were none.
    fn latency(&self) -> Option<(String, &'static str)> {
        let recent = self.now.latency.since(&self.before.latency);
        let (of, when) = match recent.count() {
            0 => (&self.now.latency, "since the start"),
            _ if self.ms > 0 => (&recent, "now"),
            _ => (&self.now.latency, "since the start"),
        };
        let below = |percent| match of.percentile_ms(percent) {
            Some(ms) => format!("≤ {}", Span(ms)),
            None => format!("> {}", Span(60_000)),
        };
        (of.count() > 0).then(|| (format!("P50 {}, P99 {}", below(50), below(99)), when))
    }
}

/// The picture.
fn render(before: &Status, now: &Status, time: Duration) -> String {
    let rates = Rates::new(before, now, time);
    let Status { source, buffer, link, .. } = now;
    let mut text = String::new();
    let health = if now.healthy { "healthy" } else { "NOT HEALTHY" };
    let (agent, version, up) = (tame(&now.agent), tame(&now.version), Span(now.uptime_ms));
    let _ = writeln!(text, "{agent}  rivulet {version}, process {}, up {up}: {health}", now.pid);
    for reason in &now.reasons {
        let _ = writeln!(text, "  - {}", tame(reason));
    }
    let lag = lag(now);
    let _ = writeln!(
        text,
        "\nsource  {}, heard {} ago, lag {lag}\n        at {}",
        source.state,
        Span(source.silent_ms),
        tame(&source.position)
    );
    let _ = writeln!(
        text,
        "        {} transactions/s, {} rows/s, {} events/s",
        rates.of(|s| s.source.transactions),
        rates.of(|s| s.source.rows),
        rates.of(|s| s.source.events)
    );
    let full = percent(buffer.bytes, buffer.bytes_max);
    let paused = if buffer.paused { ", READING PAUSES" } else { "" };
    let trouble = trouble(now);
    let _ = writeln!(
        text,
        "\nbuffer  {} of {} B ({full}) {}{paused}{trouble}\n        {} batches, {} rows wait",
        short(buffer.bytes),
        short(buffer.bytes_max),
        bar(buffer.bytes, buffer.bytes_max),
        short(buffer.batches),
        short(buffer.rows)
    );
    let _ = writeln!(
        text,
        "        {} staged/s, {} acknowledged/s, compressed to {}",
        rates.of(|s| s.batches.staged),
        rates.of(|s| s.batches.acknowledged),
        percent(now.batches.bytes_compressed, now.batches.bytes_raw)
    );
    let _ = writeln!(
        text,
        "\nlink    {}, heard {} ago, {} reconnects\n        {}",
        link.state,
        Span(link.heard_ms),
        link.reconnects,
        tame(&link.endpoint)
    );
    let path = match link.path {
        Some(path) => format!(
            "round trip {}, {} lost of {} packets ({}), {} lost/s, window {} B",
            Us(path.rtt_us),
            short(link.packets_lost),
            short(link.packets_sent),
            percent(link.packets_lost, link.packets_sent),
            rates.of(|s| s.link.packets_lost),
            short(path.window_bytes)
        ),
        None => "round trip and losses: only QUIC tells".to_owned(),
    };
    let _ = writeln!(text, "        {} B/s on the wire\n        {path}", rates.of(wire_bytes));
    if let Some((latency, when)) = rates.latency() {
        let _ = writeln!(text, "        commit to acknowledged {latency} ({when})");
    }
    budget(now, &mut text);
    text
}

fn budget(now: &Status, text: &mut String) {
    let budget = &now.budget;
    let mut parts = Vec::new();
    parts.extend(budget.second_bytes_max.map(|most| format!("{} B/s at most", short(most))));
    for (share, period) in [(budget.hour, "hour"), (budget.day, "day")] {
        if let Some(Share { bytes, bytes_max }) = share {
            let (used, full) = (short(bytes), percent(bytes, bytes_max));
            parts.push(format!("{used} of {} B of this {period} ({full})", short(bytes_max)));
        }
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "\nbudget  {}", parts.join("\n        "));
    }
}

/// How old the last transaction was when it was read; `-` if there was none.
fn lag(now: &Status) -> String {
    match now.source.last_commit_us {
        0 => "-".to_owned(),
        _ => Span(now.source.lag_ms).to_string(),
    }
}

fn trouble(now: &Status) -> String {
    match now.buffer.disk {
        Disk::Well => String::new(),
        disk => format!(", {disk}"),
    }
}

/// The same in one line.
fn line(before: &Status, now: &Status, time: Duration) -> String {
    let rates = Rates::new(before, now, time);
    let rtt = now.link.path.map_or("-".to_owned(), |path| Us(path.rtt_us).to_string());
    let health = match now.reasons.join("; ") {
        reasons if reasons.is_empty() => "healthy".to_owned(),
        reasons => format!("NOT HEALTHY ({})", tame(&reasons)),
    };
    format!(
        "{} {health}: {} rows/s, lag {}, {} batches wait, buffer {}{}, link {}, {} B/s, round trip {rtt}, {} lost\n",
        tame(&now.agent),
        rates.of(|s| s.source.rows),
        lag(now),
        now.buffer.batches,
        percent(now.buffer.bytes, now.buffer.bytes_max),
        trouble(now),
        now.link.state,
        rates.of(wire_bytes),
        now.link.packets_lost
    )
}

fn wire_bytes(status: &Status) -> u64 {
    status.link.wire_bytes
}

/// A number of three or four digits and a unit of thousands.
fn short(number: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
    match units.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) if number / unit < 100 => {
            format!("{}.{}{name}", number / unit, number % unit * 10 / unit)
        }
        Some((unit, name)) => format!("{}{name}", number / unit),
        None => number.to_string(),
    }
}

fn percent(part: u64, whole: u64) -> String {
    match part.saturating_mul(1000).checked_div(whole) {
        Some(tenths) if tenths < 100 => format!("{}.{} %", tenths / 10, tenths % 10),
        Some(tenths) => format!("{} %", tenths / 10),
        None => "-".to_owned(),
    }
}

fn bar(part: u64, whole: u64) -> String {
    let filled = part.saturating_mul(BAR).checked_div(whole).unwrap_or(0).min(BAR);
    format!("[{}{}]", "#".repeat(filled as usize), ".".repeat((BAR - filled) as usize))
}

/// How soon a signal is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const BAR: u64 = 20;
/// Another screen, without a cursor; long lines are cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// Undoes that.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K";
/// All below is erased.
const REST: &str = "\x1b[J";

#[cfg(test)]
mod tests {
    use rivulet::telemetry::status::{Path, State};

    use super::*;

    fn status() -> Status {
        let mut status =
            Status { agent: "edge-17".into(), version: "0.1.0".into(), ..Status::default() };
        (status.pid, status.uptime_ms, status.healthy) = (4711, 60_000, true);
        (status.source.state, status.link.state) = (State::Connected, State::Connected);
        (status.source.position, status.link.endpoint) =
            ("binlog.000042:1337".into(), "quic://centre:14567".into());
        status.buffer.bytes_max = 536_870_912;
        status
    }

    fn later() -> Status {
        let mut now = status();
        now.uptime_ms = 62_000;
        (now.source.rows, now.source.transactions, now.source.events) = (3000, 20, 9);
        (now.source.last_commit_us, now.source.lag_ms) = (1, 12);
        (now.buffer.bytes, now.buffer.batches, now.buffer.rows) = (268_435_456, 3, 1234);
        (now.link.wire_bytes, now.link.packets_sent, now.link.packets_lost) = (250_000, 1000, 7);
        now.link.path = Some(Path { rtt_us: 60_250, window_bytes: 14_520, mtu_bytes: 1452 });
        now.latency.observe(15_000, 99);
        now.latency.observe(340_000, 1);
        (now.batches.bytes_raw, now.batches.bytes_compressed) = (1000, 123);
        (now.batches.staged, now.batches.acknowledged) = (8, 6);
        now.budget.hour = Some(Share { bytes: 1_500_000, bytes_max: 20_000_000 });
        now
    }

    #[test]
    fn rates_are_differences_over_time() {
        assert_eq!(
            render(&status(), &later(), Duration::from_secs(2)),
            "\
edge-17  rivulet 0.1.0, process 4711, up 62 s: healthy

source  connected, heard 0 ms ago, lag 12 ms
        at binlog.000042:1337
        10 transactions/s, 1.5k rows/s, 4 events/s

buffer  268M of 536M B (50 %) [##########..........]
        3 batches, 1.2k rows wait
        4 staged/s, 3 acknowledged/s, compressed to 12 %

link    connected, heard 0 ms ago, 0 reconnects
        quic://centre:14567
        125k B/s on the wire
        round trip 60.2 ms, 7 lost of 1.0k packets (0.7 %), 3 lost/s, window 14.5k B
        commit to acknowledged P50 ≤ 20 ms, P99 ≤ 20 ms (now)

budget  1.5M of 20.0M B of this hour (7.5 %)
"
        );
        assert_eq!(
            line(&status(), &later(), Duration::from_secs(2)),
            "edge-17 healthy: 1.5k rows/s, lag 12 ms, 3 batches wait, buffer 50 %, link connected, 125k B/s, \
             round trip 60.2 ms, 7 lost\n"
        );
    }

    #[test]
    fn the_first_moment_and_another_process_have_no_rates() {
        let now = later();
        for (before, time) in [(later(), 0), (Status { pid: 1, ..status() }, 2)] {
            let text = render(&before, &now, Duration::from_secs(time));
            assert!(text.contains("        - transactions/s, - rows/s, - events/s\n"), "{text}");
            assert!(text.contains("(since the start)"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_can_do_no_harm() {
        let mut now = status();
        (now.healthy, now.buffer.paused) = (false, true);
        now.reasons = vec!["no\nlink \x1b[2J".into()];
        let text = render(&now, &now, Duration::ZERO);
        assert!(text.contains("NOT HEALTHY\n  - no\\nlink \\u{1b}[2J\n"), "{text}");
        assert!(text.contains("READING PAUSES") && text.contains("only QUIC tells"), "{text}");
        now.buffer.disk = Disk::Slow;
        let one = line(&now, &now, Duration::ZERO);
        assert!(
            one.starts_with("edge-17 NOT HEALTHY (no\\nlink \\u{1b}[2J): - rows/s, lag -, "),
            "{one}"
        );
        assert!(one.contains("buffer 0.0 %, the disk is slow, link"), "{one}");
        assert!(render(&now, &now, Duration::ZERO).contains("READING PAUSES, the disk is slow\n"));
        let picture = frame(&text);
        assert_eq!(picture.matches('\x1b').count(), text.lines().count() + 2);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0, 999, 1000, 99_999, 100_000, 1_234_567, u64::MAX];
        let short = all.map(super::short);
        assert_eq!(short, ["0", "999", "1.0k", "99.9k", "100k", "1.2M", "18446744T"]);
        assert_eq!((percent(1, 0), percent(1, 3)), ("-".to_owned(), "33 %".to_owned()));
        assert_eq!(bar(9, 3), format!("[{}]", "#".repeat(20)));
    }
}
