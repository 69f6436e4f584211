//! The edge's command line, as data.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

/// What the user wants.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Help,
    Version,
    Agent { config: PathBuf },
    Decode(Decode),
    Check { config: PathBuf, connect: bool },
    Status { place: Place, show: Show },
}

/// `rivulet decode`.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Decode {
    pub(crate) format: Format,
    pub(crate) stats: bool,
    /// `--on-statement skip-and-report`.
    pub(crate) leave_out: bool,
    /// At least one.
    pub(crate) files: Vec<PathBuf>,
}

/// How `rivulet decode` prints a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Debezium,
    Text,
}

/// Where to look for a running agent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Config(PathBuf),
    StateDir(PathBuf),
}

/// How to show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Show {
    Text,
    Json,
    /// Again and again, as often as this.
    Watch(Duration),
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next()? {
        None => Err("a command is missing".into()),
        Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(Short('V') | Long("version")) => Ok(Command::Version),
        Some(Value(command)) => match command.to_str() {
            Some("agent") => agent(&mut parser),
            Some("decode") => decode(&mut parser),
            Some("check") => check(&mut parser),
            Some("status") => status(&mut parser),
            Some("help") => Ok(Command::Help),
            _ => Err(format!("{command:?} is not a command").into()),
        },
        Some(other) => Err(other.unexpected()),
    }
}

fn agent(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut config = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('c') | Long("config") => config = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Agent { config: config.ok_or("--config FILE is missing")? })
}

fn decode(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut decode =
        Decode { format: Format::Debezium, stats: false, leave_out: false, files: Vec::new() };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('f') | Long("format") => {
                decode.format = parser.value()?.parse_with(|word| match word {
                    "debezium" => Ok(Format::Debezium),
                    "text" => Ok(Format::Text),
                    _ => Err("must be debezium or text"),
                })?;
            }
            Long("stats") => decode.stats = true,
            Long("on-statement") => {
                decode.leave_out = parser.value()?.parse_with(|word| match word {
                    "stop" => Ok(false),
                    "skip-and-report" => Ok(true),
                    _ => Err("must be stop or skip-and-report"),
                })?;
            }
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(file) => decode.files.push(file.into()),
            other => return Err(other.unexpected()),
        }
    }
    if decode.files.is_empty() {
        return Err("decode: FILE is missing".into());
    }
    Ok(Command::Decode(decode))
}

fn check(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut config, mut connect) = (None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('c') | Long("config") => config = Some(parser.value()?.into()),
            Long("connect") => connect = true,
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Check { config: config.ok_or("--config FILE is missing")?, connect })
}

fn status(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut place, mut json, mut watch, mut every) = (None, false, false, None);
    while let Some(arg) = parser.next()? {
        let new = match arg {
            Short('c') | Long("config") => Place::Config(parser.value()?.into()),
            Long("state-dir") => Place::StateDir(parser.value()?.into()),
            Long("json") => {
                json = true;
                continue;
            }
            Short('w') | Long("watch") => {
                watch = true;
                continue;
            }
            Long("every") => {
                every = Some(parser.value()?.parse_with(seconds)?);
                continue;
            }
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        };
        if place.replace(new).is_some() {
            return Err("--config and --state-dir: one of them, once".into());
        }
    }
    let place = place.unwrap_or_else(|| Place::StateDir("/var/lib/rivulet".into()));
    let show = match (json, watch, every) {
        (true, true, _) => return Err("--json and --watch exclude each other".into()),
        (_, false, Some(_)) => return Err("--every belongs to --watch".into()),
        (true, false, None) => Show::Json,
        (false, false, None) => Show::Text,
        (false, true, every) => Show::Watch(every.unwrap_or(Duration::from_secs(1))),
    };
    Ok(Command::Status { place, show })
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("must be 1 to 86400 seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(line("--help"), Ok(Command::Help));
        assert_eq!(line("agent --help"), Ok(Command::Help));
        assert_eq!(line("-V"), Ok(Command::Version));
        assert_eq!(line("agent --config a.toml"), Ok(Command::Agent { config: "a.toml".into() }));
        assert_eq!(
            line("check -c a.toml --connect"),
            Ok(Command::Check { config: "a.toml".into(), connect: true })
        );
        assert_eq!(
            line(
                "decode --stats --format=text --on-statement=skip-and-report binlog.000001 binlog.000002"
            ),
            Ok(Command::Decode(Decode {
                format: Format::Text,
                stats: true,
                leave_out: true,
                files: vec!["binlog.000001".into(), "binlog.000002".into()],
            }))
        );
        assert_eq!(
            line("status --json"),
            Ok(Command::Status {
                place: Place::StateDir("/var/lib/rivulet".into()),
                show: Show::Json
            })
        );
        assert_eq!(
            line("status --config a.toml"),
            Ok(Command::Status { place: Place::Config("a.toml".into()), show: Show::Text })
        );
        let watch = |seconds| Command::Status {
            place: Place::Config("a".into()),
            show: Show::Watch(Duration::from_secs(seconds)),
        };
        assert_eq!(line("status -c a --watch"), Ok(watch(1)));
        assert_eq!(line("status -w --every 10 -c a"), Ok(watch(10)));
    }

    #[test]
    fn every_mistake_is_named() {
        let mistakes = [
            ("", "a command is missing"),
            ("agnet", "\"agnet\" is not a command"),
            ("agent", "--config FILE is missing"),
            ("agent --config", "missing argument for option '--config'"),
            ("agent --config a b", "unexpected argument \"b\""),
            ("decode", "decode: FILE is missing"),
            ("status --config a --state-dir b", "--config and --state-dir: one of them, once"),
            ("status --json --watch", "--json and --watch exclude each other"),
            ("status --every 5", "--every belongs to --watch"),
            ("check --colour", "invalid option '--colour'"),
        ];
        for (wrong, why) in mistakes {
            assert_eq!(line(wrong), Err(why.to_owned()), "{wrong}");
        }
        assert!(line("decode --format xml f").unwrap_err().contains("must be debezium or text"));
    }
}
