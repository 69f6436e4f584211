//! SHELL: the edge's command line.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rivulet::agent::{self, AgentError, Operator};
use rivulet::config::agent::{Address, Config, Source};
use rivulet::telemetry::socket::{self, SocketError};
use rivulet::telemetry::{logger, signals};

#[path = "rivulet/args.rs"]
mod args;
mod common;
#[cfg(feature = "decode")]
#[path = "rivulet/inspect.rs"]
mod inspect;
#[path = "rivulet/watch.rs"]
mod watch;

use args::{Command, Place, Show};
use common::{EXIT_CODES, Failure, Findings, configuration, env, print};

const HELP: &str = include_str!("rivulet/help.txt");

fn main() -> ExitCode {
    let result = args::parse(std::env::args_os().skip(1)).map_err(Failure::from).and_then(run);
    common::exit("rivulet", result)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => print(format_args!("{HELP}{EXIT_CODES}")),
        Command::Version => print(format_args!("rivulet {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Check { config, connect } => check(&config, connect),
        Command::Status { place, show } => status(place, show),
        Command::Agent { config } => serve(&config),
        #[cfg(feature = "decode")]
        Command::Decode(decode) => inspect::run(&decode),
        #[cfg(not(feature = "decode"))]
        Command::Decode(_) => Err(Failure::usage("decode: this build carries no decoder")),
    }
}

fn serve(path: &Path) -> Result<(), Failure> {
    let parse = |text: &str| Config::parse(text, &env);
    let (config, text) = common::read(path, parse)?;
    logger::install(config.log).map_err(Failure::runtime)?;
    let requests = signals::requests().map_err(Failure::runtime)?;
    let reload = common::reload(path, &text, parse);
    agent::run(&config, Operator { requests, reload }).map_err(|error| match error {
        AgentError::Unread(text) => Failure { code: 3, text },
        error => Failure::runtime(error),
    })
}

fn load(path: &Path) -> Result<Config, Failure> {
    configuration(path, |text| Config::parse(text, &env))
}

fn check(path: &Path, connect: bool) -> Result<(), Failure> {
    let config = load(path)?;
    let mut findings = Findings::default();
    findings.directory("state_dir", &config.state_dir);
    findings.identity(&config.uplink.ca, &config.uplink.certificate, &config.uplink.key);
    findings.note(agent::check_name(&config));
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

/// Opens and closes a connection to the server, and resolves the collector's names: no more, for
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
    for remote in &config.uplink.endpoints {
        let host = remote.host.as_str();
        (host, remote.port)
            .to_socket_addrs()
            .map_err(|e| Failure::runtime(format!("uplink: {host}: {e}")))?;
    }
    Ok(())
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

fn status(place: Place, show: Show) -> Result<(), Failure> {
    let (state_dir, buffer) = match place {
        Place::StateDir(path) => (path.clone(), path.join("buffer.db")),
        Place::Config(path) => {
            let config = load(&path)?;
            (config.state_dir, config.buffer.path)
        }
    };
    let socket = state_dir.join(socket::FILE_NAME);
    if let Show::Watch(every) = show {
        return watch::run(&socket, every);
    }
    let status = match socket::query(&socket) {
        // Dead agents tell something too, if they have lived at all.
        Err(error @ SocketError::NotRunning(_)) => {
            agent::glance(&buffer).map_err(|_| Failure::runtime(error))?
        }
        status => status.map_err(Failure::runtime)?,
    };
    if show == Show::Json {
        let json = serde_json::to_string_pretty(&status).map_err(Failure::runtime)?;
        print(logger::tame_json(json + "\n"))?;
    } else {
        print(&status)?;
    }
    if status.healthy { Ok(()) } else { Err(Failure::runtime("the agent is not healthy")) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_lists_every_option() {
        super::common::check_help(super::HELP, include_str!("rivulet/args.rs"));
    }
}
