//! The centre's command line, as data.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use rivulet::collector::replay::From;

/// What the user wants.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Help,
    Version,
    Serve { config: PathBuf },
    Check { config: PathBuf },
    Replay { config: PathBuf, sink: String, from: From, agent: Option<String> },
    Backup { config: PathBuf, to: PathBuf },
    Pki { make: Make, dir: PathBuf },
}

/// What `pki` makes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Make {
    /// The authority.
    Init,
    /// An agent's certificate.
    Agent(String),
    /// The collector's certificate, with these names and addresses; at least one.
    Collector(Vec<String>),
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
            Some("serve") => {
                let config = config(&mut parser)?;
                Ok(config.map_or(Command::Help, |config| Command::Serve { config }))
            }
            Some("check") => {
                let config = config(&mut parser)?;
                Ok(config.map_or(Command::Help, |config| Command::Check { config }))
            }
            Some("replay") => replay(&mut parser),
            Some("backup") => backup(&mut parser),
            Some("pki") => pki(&mut parser),
            Some("help") => Ok(Command::Help),
            _ => Err(format!("{command:?} is not a command").into()),
        },
        Some(other) => Err(other.unexpected()),
    }
}

/// `--config FILE`; `None` if help is wanted.
fn config(parser: &mut lexopt::Parser) -> Result<Option<PathBuf>, lexopt::Error> {
    let mut config = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Short('c') | Long("config") => config = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    config.map(Some).ok_or_else(|| "--config FILE is missing".into())
}

fn replay(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut config, mut sink, mut from, mut agent) = (None, None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('c') | Long("config") => config = Some(parser.value()?.into()),
            Long("sink") => sink = Some(parser.value()?.string()?),
            Long("from") => {
                let text = parser.value()?.string()?;
                from = Some(text.parse::<From>().map_err(|why| format!("--from: {why}"))?);
            }
            Long("agent") => agent = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    let config = config.ok_or("--config FILE is missing")?;
    let sink = sink.ok_or("replay: --sink NAME is missing")?;
    let from = from.ok_or("replay: --from WHERE is missing")?;
    Ok(Command::Replay { config, sink, from, agent })
}

fn backup(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut config, mut to) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('c') | Long("config") => config = Some(parser.value()?.into()),
            Long("to") => to = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    let config = config.ok_or("--config FILE is missing")?;
    let to = to.ok_or("backup: --to FILE is missing")?;
    Ok(Command::Backup { config, to })
}

fn pki(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut dir, mut words) = (PathBuf::from("pki"), Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => dir = parser.value()?.into(),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let make = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["init"] => Make::Init,
        ["agent", name] => Make::Agent((*name).to_owned()),
        ["agent", ..] => return Err("pki agent: one NAME is wanted".into()),
        ["collector"] => return Err("pki collector: HOST is missing".into()),
        ["collector", ..] => Make::Collector(words.split_off(1)),
        _ => return Err("pki: init, agent NAME or collector HOST… is wanted".into()),
    };
    Ok(Command::Pki { make, dir })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(line("help"), Ok(Command::Help));
        assert_eq!(line("serve -h"), Ok(Command::Help));
        assert_eq!(line("--version"), Ok(Command::Version));
        assert_eq!(line("serve --config=c.toml"), Ok(Command::Serve { config: "c.toml".into() }));
        assert_eq!(line("check -c c.toml"), Ok(Command::Check { config: "c.toml".into() }));
        let replay = line("replay -c c.toml --sink changes --from 17 --agent edge-1");
        let (sink, agent) = ("changes".into(), Some("edge-1".into()));
        let wanted =
            Command::Replay { config: "c.toml".into(), sink, from: From::Entry(17), agent };
        assert_eq!(replay, Ok(wanted));
        let backup = Command::Backup { config: "c.toml".into(), to: "copy.db".into() };
        assert_eq!(line("backup -c c.toml --to copy.db"), Ok(backup));
        let pki = |make, dir: &str| Ok(Command::Pki { make, dir: dir.into() });
        assert_eq!(line("pki init"), pki(Make::Init, "pki"));
        assert_eq!(line("pki --dir d agent edge-17"), pki(Make::Agent("edge-17".into()), "d"));
        let hosts = Make::Collector(vec!["centre".into(), "10.0.0.1".into()]);
        assert_eq!(line("pki collector centre 10.0.0.1 --dir d"), pki(hosts, "d"));
    }

    #[test]
    fn every_mistake_is_named() {
        let mistakes = [
            ("", "a command is missing"),
            ("server", "\"server\" is not a command"),
            ("serve", "--config FILE is missing"),
            ("replay -c f", "replay: --sink NAME is missing"),
            ("replay -c f --sink s", "replay: --from WHERE is missing"),
            ("backup -c f", "backup: --to FILE is missing"),
            ("pki", "pki: init, agent NAME or collector HOST… is wanted"),
            ("pki init again", "pki: init, agent NAME or collector HOST… is wanted"),
            ("pki agent", "pki agent: one NAME is wanted"),
            ("pki agent a b", "pki agent: one NAME is wanted"),
            ("pki collector", "pki collector: HOST is missing"),
        ];
        for (wrong, why) in mistakes {
            assert_eq!(line(wrong), Err(why.to_owned()), "{wrong}");
        }
    }
}
