//! SHELL: the log, line by line to standard error.
//!
//! ```text
//! 2026-11-21T10:35:14.123Z INFO  uplink: connected to collector.example.net:14567
//! {"time":"2026-11-21T10:35:14.123Z","level":"INFO","room":"uplink","text":"connected to …"}
//! ```
//!
//! One record is one line whatever it says: line ends, control characters and the marks that turn
//! text around are escaped, so that no table's name and no server's error text can forge a line or
//! move a terminal's cursor.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::config::{self, LogFormat};

use super::utc;

/// Sends all that is logged, down to the level, to standard error. Other crates speak only when they
/// warn, unless the level is `Trace`.
///
/// # Errors
/// There is a logger already.
pub fn install(settings: config::Log) -> Result<(), SetLoggerError> {
    log::set_logger(&LOGGER)?;
    change(settings);
    Ok(())
}

/// Logs in another way from now on.
pub fn change(settings: config::Log) {
    LOGGER.json.store(settings.format == LogFormat::Json, Relaxed);
    LOGGER.level.store(settings.level as usize, Relaxed);
    log::set_max_level(settings.level);
}

/// What [`change`] takes over of a configuration.
pub const SETTINGS: &[&str] = &["log.format", "log.level"];

static LOGGER: Logger =
    Logger { json: AtomicBool::new(false), level: AtomicUsize::new(LevelFilter::Info as usize) };

struct Logger {
    json: AtomicBool,
    /// A [`LevelFilter`].
    level: AtomicUsize,
}

impl Logger {
    fn format(&self) -> LogFormat {
        if self.json.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = self.level.load(Relaxed);
        let strange = !metadata.target().starts_with(OURS) && level < LevelFilter::Trace as usize;
        let level = if strange { level.min(LevelFilter::Warn as usize) } else { level };
        metadata.level() as usize <= level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut text = Bounded(String::new());
            // The only error is that the bound was reached, and then the text is cut.
            let _ = text.write_fmt(*record.args());
            let line = line(self.format(), now_us(), record.level(), record.target(), &text.0);
            // A log that nobody reads any more is no reason to stop carrying data.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// This machine's time in microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One line with its end.
fn line(form: LogFormat, us: u64, level: Level, target: &str, text: &str) -> String {
    let time = utc::text(us);
    let room = room(target);
    // Errors begin with their room, whoever tells of them.
    let text = text.strip_prefix(room).and_then(|text| text.strip_prefix(": ")).unwrap_or(text);
    match form {
        LogFormat::Text => format!("{time} {level:<5} {}: {}\n", tame(room), tame(text)),
        LogFormat::Json => {
            let (room, text) = (json(room), json(text));
            format!(r#"{{"time":"{time}","level":"{level}","room":{room},"text":{text}}}"#) + "\n"
        }
    }
}

/// `rivulet::uplink::window` is `uplink`; another crate is its own name.
fn room(target: &str) -> &str {
    let path = target.strip_prefix(OURS).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target);
    path.split("::").next().unwrap_or(path)
}

/// A text that can do nothing but be read.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => tamed.push_str("\\n"),
            '\r' => tamed.push_str("\\r"),
            '\t' => tamed.push_str("\\t"),
            c if is_wild(c) => {
                let _ = write!(tamed, "\\u{{{:x}}}", u32::from(c));
            }
            c => tamed.push(c),
        }
    }
    tamed
}

/// A JSON string of printable characters.
fn json(text: &str) -> String {
    tame_json(serde_json::Value::from(text).to_string())
}

/// The same JSON of printable characters; line ends between its parts stay.
pub fn tame_json(json: String) -> String {
    let is_wild = |c| is_wild(c) && c != '\n';
    if !json.contains(is_wild) {
        return json;
    }
    let mut tamed = String::with_capacity(json.len());
    for c in json.chars() {
        if is_wild(c) {
            let _ = write!(tamed, "\\u{:04x}", u32::from(c));
        } else {
            tamed.push(c);
        }
    }
    tamed
}

/// Control characters (C0, DEL, C1), line and paragraph ends, and the marks of direction.
fn is_wild(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text up to [`TEXT_BYTES_MAX`]; the rest is cut.
struct Bounded(String);

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = TEXT_BYTES_MAX.saturating_sub(self.0.len());
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        self.0.extend(
            more.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c),
        );
        self.0.push('…');
        Err(std::fmt::Error)
    }
}

/// The longest text of one record, in bytes: a long error fits, a runaway one does not.
const TEXT_BYTES_MAX: usize = 8 << 10;

const OURS: &str = "rivulet";

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_795_257_314_123_456;

    #[test]
    fn a_line_is_time_level_room_and_text() {
        assert_eq!(
            line(LogFormat::Text, US, Level::Info, "rivulet::uplink::window", "connected"),
            "2026-11-21T10:35:14.123Z INFO  uplink: connected\n"
        );
        assert_eq!(
            line(LogFormat::Json, US, Level::Error, "quinn_udp", "a \"b\""),
            "{\"time\":\"2026-11-21T10:35:14.123Z\",\"level\":\"ERROR\",\"room\":\"quinn_udp\",\"text\":\"a \\\"b\\\"\"}\n"
        );
    }

    #[test]
    fn the_room_is_said_once() {
        let line = |text| line(LogFormat::Text, US, Level::Warn, "rivulet::buffer::file", text);
        assert!(line("buffer: the disk is full").ends_with(" WARN  buffer: the disk is full\n"));
        assert!(line("buffers: no").ends_with(" WARN  buffer: buffers: no\n"));
        assert!(line("source: no").ends_with(" WARN  buffer: source: no\n"));
    }

    #[test]
    fn no_text_can_forge_a_line_or_move_the_cursor() {
        let evil = "x\r\n2026 ERROR y\u{1b}[2J\u{9b}31m\u{2028}\u{202e}\u{7f}\0ä";
        let text = line(LogFormat::Text, US, Level::Warn, "rivulet::source", evil);
        assert_eq!(
            text,
            "2026-11-21T10:35:14.123Z WARN  source: x\\r\\n2026 ERROR y\\u{1b}[2J\\u{9b}31m\\u{2028}\\u{202e}\\u{7f}\\u{0}ä\n"
        );
        let json = line(LogFormat::Json, US, Level::Warn, "rivulet::source", evil);
        assert_eq!(json.matches(is_wild).collect::<Vec<_>>(), ["\n"]);
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["text"], evil);
    }

    #[test]
    fn json_is_tamed_as_a_whole_and_says_the_same() {
        let said = serde_json::json!({ "reasons": ["\u{9b}2J\u{202e}\u{7f}\n\u{1b}"] });
        let tamed = tame_json(serde_json::to_string_pretty(&said).unwrap());
        assert!(
            tamed.contains("[\n") && tamed.contains("\\u009b2J\\u202e\\u007f\\n\\u001b"),
            "{tamed}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&tamed).unwrap(), said);
    }

    #[test]
    fn a_text_has_a_limit() {
        let mut text = Bounded(String::new());
        let _ = write!(text, "{}ä{}", "x".repeat(TEXT_BYTES_MAX - 1), "y".repeat(99_999));
        assert_eq!(text.0.len(), TEXT_BYTES_MAX - 1 + '…'.len_utf8());
        assert!(text.0.ends_with("x…"));
    }

    #[test]
    fn other_crates_speak_only_when_they_warn() {
        let logger = |level: LevelFilter| Logger {
            json: AtomicBool::new(false),
            level: AtomicUsize::new(level as usize),
        };
        let asks = |logger: Logger, target, level| {
            logger.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(asks(logger(LevelFilter::Debug), "rivulet::mqtt", Level::Debug));
        assert!(!asks(logger(LevelFilter::Debug), "quinn", Level::Info));
        assert!(asks(logger(LevelFilter::Debug), "quinn", Level::Warn));
        assert!(!asks(logger(LevelFilter::Error), "quinn", Level::Warn));
        assert!(asks(logger(LevelFilter::Trace), "quinn", Level::Trace));
    }
}
