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
//! | [`reload`] | what another text of the same file changes, and what of that counts at once |
//! | [`secret`] | a password that never shows itself |
//! | `reader` | a TOML document, taken apart key by key |
//! | `value` | what one value must look like: durations, sizes, names, endpoints |
//!
//! `configs/agent.toml` and `configs/collector.toml` document every key. Paths that are not
//! absolute count from the directory in which the program was started.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

pub mod agent;
pub mod collector;
mod reader;
pub mod reload;
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

/// The pages for those who watch: the section `[telemetry]` of both ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Telemetry {
    /// Where they are served, if they are.
    pub listen: Option<Place>,
}

/// Where something local is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A TCP address; of this machine, unless it was asked for otherwise.
    Tcp(SocketAddr),
    /// The file of a local socket, for its owner and group: mode 0660.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Telemetry {
    fn read(mut section: Section<'_>) -> Self {
        let line = section.line_of("listen");
        let listen = section.optional("listen", value::place_or_off, None);
        let remote = section.optional("allow_remote", value::flag, false);
        if let Some(Place::Tcp(address)) = &listen
            && !address.ip().is_loopback()
            && !remote
        {
            let text = format!(
                "`telemetry.listen`: {address} can be read from outside of this machine by everybody; \
                 use 127.0.0.1 or a socket, or say `allow_remote = true`"
            );
            section.complain(line, text);
        }
        section.finish();
        Self { listen }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(text: &str) -> Result<Telemetry, Vec<Problem>> {
        reader::read(text, |mut root| {
            let telemetry = Telemetry::read(root.section("telemetry"));
            root.finish();
            telemetry
        })
    }

    #[test]
    fn what_can_be_watched_from_outside_was_asked_for() {
        let at = |lines: &str| telemetry(&format!("[telemetry]\n{lines}\n"));
        assert_eq!(telemetry("").unwrap(), Telemetry::default());
        assert_eq!(at("listen = \"off\"").unwrap(), Telemetry::default());
        let local = Some(Place::Tcp("127.0.0.1:9187".parse().unwrap()));
        assert_eq!(at("listen = \"127.0.0.1:9187\"").unwrap().listen, local);
        let socket = Some(Place::Unix("/run/rivulet/metrics.sock".into()));
        assert_eq!(at("listen = \"unix:/run/rivulet/metrics.sock\"").unwrap().listen, socket);
        let open = at("listen = \"0.0.0.0:9187\"\nallow_remote = true").unwrap().listen;
        assert_eq!(open, Some(Place::Tcp("0.0.0.0:9187".parse().unwrap())));
        let told = at("listen = \"[::]:9187\"").unwrap_err();
        assert!(told[0].to_string().starts_with("line 2: `telemetry.listen`: [::]:9187 can be"));
        for wrong in ["9187", "localhost:9187", "unix:", "unix:relative.sock", "http://[::1]:1"] {
            assert!(at(&format!("listen = {wrong:?}")).is_err(), "{wrong}");
        }
    }
}
