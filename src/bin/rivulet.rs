//! SHELL: the edge's command line.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rivulet::agent::{self, AgentError};
use rivulet::config::agent::{Address, Config, Source};
#[cfg(feature = "decode")]
use rivulet::decode::{self, Cause, DecodeFailure};
use rivulet::telemetry::{logger, signals, socket};

#[path = "rivulet/args.rs"]
mod args;
mod common;

use args::{Command, Place};
use common::{EXIT_CODES, Failure, Findings, configuration, env, print};

const HELP: &str = "\
Carries every committed change of a MySQL or MariaDB server to a central collector.

USAGE
  rivulet agent --config FILE
      Reads the server's binlog, keeps what the collector does not yet have, and sends it.
      SIGTERM or SIGINT ends it in good order; it goes on where it stood.
  rivulet decode [--format debezium|text] [--stats] FILE…
      Prints the changes in binlog files, one line each; --stats counts them instead.
  rivulet check --config FILE [--connect]
      Tells all that is wrong with a configuration and with the files that it names.
      --connect also tries to reach the server and to resolve the collector's name.
  rivulet status [--config FILE | --state-dir DIR] [--json]
      Asks the agent that runs on this machine. Exits with 1 if it does not run or is not healthy.
  rivulet --help | --version

EXAMPLES
  rivulet check --config /etc/rivulet/agent.toml
  rivulet agent --config /etc/rivulet/agent.toml
  rivulet status --json
  rivulet decode --format text /var/lib/mysql/binlog.000042

FILES
  /etc/rivulet/agent.toml    by convention; configs/agent.toml documents every setting
  /var/lib/rivulet           the default state_dir: buffer.db, agent.sock

";

fn main() -> ExitCode {
    let result = args::parse(std::env::args_os().skip(1)).map_err(Failure::from).and_then(run);
    common::exit("rivulet", result)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => print(format_args!("{HELP}{EXIT_CODES}")),
        Command::Version => print(format_args!("rivulet {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Check { config, connect } => check(&config, connect),
        Command::Status { place, json } => status(place, json),
        Command::Agent { config } => serve(&config),
        Command::Decode(decode) => inspect(&decode),
    }
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    common::log_as(config.log)?;
    let stop = signals::stop_requests().map_err(Failure::runtime)?;
    agent::run(&config, stop).map_err(|error| match error {
        AgentError::Unread(text) => Failure { code: 3, text },
        error => Failure::runtime(error),
    })
}

#[cfg(not(feature = "decode"))]
fn inspect(_: &args::Decode) -> Result<(), Failure> {
    Err(Failure::usage("decode: this build carries no decoder"))
}

/// Decodes one file after the other; a damaged one does not hide those behind it.
#[cfg(feature = "decode")]
fn inspect(decode: &args::Decode) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut failure = None;
    for file in &decode.files {
        let (line, result) = if decode.stats {
            let stats = decode::stats(file);
            let summary = stats.as_ref().unwrap_or_else(|failure| &failure.summary);
            (Some(summary.to_json()), stats)
        } else {
            let format = match decode.format {
                args::Format::Debezium => decode::Format::Debezium,
                args::Format::Text => decode::Format::Text,
            };
            let source = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let options = decode::Options { source, ..decode::Options::default() };
            (None, decode::print(file, format, &mut out, &options))
        };
        let line = line.map_or(Ok(()), |line| writeln!(out, "{line}"));
        match line.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|e| Failure::runtime(format!("standard output: {e}")))?,
        }
        match result {
            Ok(summary) => remark(&summary, decode.stats),
            Err(DecodeFailure { cause: Cause::Write(error), .. })
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                return Ok(());
            }
            Err(error) => {
                let code = if matches!(error.cause, Cause::Write(_)) { 1 } else { 3 };
                let text = match failure.take() {
                    None => error.to_string(),
                    Some(Failure { text, .. }) => format!("{text}\n{error}"),
                };
                failure = Some(Failure { code, text });
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What a reader of the output should know of a file that was read to its end.
#[cfg(feature = "decode")]
fn remark(summary: &decode::Summary, stats: bool) {
    let say = |text: String| eprintln!("rivulet: {}: {}", summary.file, logger::tame(&text));
    if !summary.complete {
        say("the file ends inside an event or a transaction; what had not committed is left out"
            .into());
    }
    for table in summary.unnamed_tables.iter().filter(|_| !stats) {
        say(format!(
            "{table}: the log has no column names (binlog_row_metadata is not FULL): columns are \
             @1, @2, …, and integers whose sign it does not tell are shown as signed"
        ));
    }
    if summary.undecoded > 0 && !stats {
        say(format!("{} values are shown as bytes: their text is not known", summary.undecoded));
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    configuration(path, |text| Config::parse(text, &env))
}

fn check(path: &Path, connect: bool) -> Result<(), Failure> {
    let config = load(path)?;
    let mut findings = Findings::default();
    findings.directory("state_dir", &config.state_dir);
    findings.identity(&config.uplink.ca, &config.uplink.certificate, &config.uplink.key);
    match &config.source {
        Source::Live(live) => {
            findings.note(live.password.read());
            if let Some(ca) = &live.ca {
                findings.note(common::authorities(ca));
            }
        }
        Source::Files(files) => {
            let readable = std::fs::metadata(&files.path);
            findings.note(readable.map_err(|e| format!("{}: {e}", files.path.display())));
        }
    }
    findings.finish()?;
    if connect {
        reach(&config)?;
    }
    print(format_args!("{}: all is well\n", path.display()))
}

/// Opens and closes a connection to the server, and resolves the collector's name: no more, for
/// whoever logs in under the agent's replica id ends the agent's own connection.
fn reach(config: &Config) -> Result<(), Failure> {
    let wait = config.uplink.dial_timeout;
    match &config.source {
        Source::Live(live) => match &live.address {
            Address::Socket(path) => UnixStream::connect(path)
                .map(drop)
                .map_err(|e| Failure::runtime(format!("source: {}: {e}", path.display())))?,
            Address::Tcp { host, port } => dial(host, *port, wait)
                .map_err(|e| Failure::runtime(format!("source: {host}, port {port}: {e}")))?,
        },
        Source::Files(_) => {}
    }
    let (host, port) = (config.uplink.host.as_str(), config.uplink.port);
    (host, port)
        .to_socket_addrs()
        .map(drop)
        .map_err(|e| Failure::runtime(format!("uplink: {host}: {e}")))
}

/// Any of a host's addresses will do; the last one's failure is told.
fn dial(host: &str, port: u16, wait: Duration) -> io::Result<()> {
    let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "has no address"));
    for address in (host, port).to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, wait).map(drop);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn status(place: Place, json: bool) -> Result<(), Failure> {
    let state_dir = match place {
        Place::StateDir(path) => path,
        Place::Config(path) => load(&path)?.state_dir,
    };
    let status = socket::query(&state_dir.join(socket::FILE_NAME)).map_err(Failure::runtime)?;
    if json {
        let json = serde_json::to_string_pretty(&status).map_err(Failure::runtime)?;
        print(format_args!("{json}\n"))?;
    } else {
        print(&status)?;
    }
    if status.healthy { Ok(()) } else { Err(Failure::runtime("the agent is not healthy")) }
}
