//! Text to checked settings, or every problem with its line.
//!
//! [`agent::Config::parse`] and [`collector::Config::parse`] return settings that need no second
//! look, or *all* that is wrong with the file, so that it can be put right in one edit. First come
//! the mistakes of syntax, all of them; when there are none, the mistakes of content, all of them.
//!
//! ```text
//! line 3: `batch.age_max` is "20", must be a duration such as "20ms", "10s" or "5min"
//! line 5: `uplink.endpiont` is not a setting; did you mean `endpoint`?
//! line 7: `source.user` is missing
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`agent`], [`collector`] | the settings of either end as plain data |
//! | [`secret`] | a password that never shows itself |
//! | `reader` | a TOML document, taken apart key by key |
//! | `value` | what one value must look like: durations, sizes, names, endpoints |
//!
//! `configs/agent.toml` and `configs/collector.toml` document every key. Paths that are not
//! absolute count from the directory in which the program was started.

use std::fmt;

pub mod agent;
pub mod collector;
mod reader;
pub mod secret;
mod value;

use reader::Section;

/// One thing to put right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Counted from 1. A missing key is reported where its section begins, or after the last line
    /// if there is no such section.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// What is logged, and how: the section `[log]` of both ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least important level that is still written.
    pub level: log::LevelFilter,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

impl Log {
    fn read(section: &mut Section<'_>) -> Self {
        use log::LevelFilter::{Debug, Error, Info, Trace, Warn};
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let levels =
            [("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug), ("trace", Trace)];
        Self {
            format: section.optional("format", value::choice(formats), LogFormat::Text),
            level: section.optional("level", value::choice(levels), Info),
        }
    }
}

/// The property that tests and fuzzers share: any text is settings or problems, each problem with a line that
/// there is (or the one behind the last).
pub fn check_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let env = |_: &str| Some("secret".to_owned());
    let agent = agent::Config::parse(text, &env).err();
    let collector = collector::Config::parse(text, &env).err();
    for problem in agent.iter().chain(&collector).flatten() {
        assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1, "{problem}");
        assert!(!problem.text.is_empty());
    }
    assert!(agent.is_none_or(|problems| !problems.is_empty()));
    assert!(collector.is_none_or(|problems| !problems.is_empty()));
}

/// A sample with every commented default (`#key = value`, no space after the `#`) made a setting.
#[cfg(test)]
fn uncommented(sample: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    sample.lines().map(line).collect()
}
