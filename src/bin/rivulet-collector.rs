//! SHELL: the centre's command line.

use std::path::Path;
use std::process::ExitCode;

use rivulet::collector::replay::{self, From};
use rivulet::collector::serve::{self, Operator};
use rivulet::collector::{log, pki, reload};
use rivulet::config::collector::{Config, SinkKind};
use rivulet::telemetry::{logger, signals};

#[path = "rivulet-collector/args.rs"]
mod args;
mod common;

use args::{Command, Make};
use common::{EXIT_CODES, Failure, Findings, configuration, env, print};

const HELP: &str = "\
Takes the changes that Rivulet's agents send, makes them durable, and writes them to its sinks.

USAGE
  rivulet-collector serve --config FILE
      Listens for agents. SIGTERM or SIGINT ends it in good order; it goes on where it stood.
  rivulet-collector replay --config FILE --sink NAME --from WHERE [--agent NAME]
      Lets a sink go back, also while the collector runs: it gets all from WHERE on once more. WHERE is
      `start`, a number of the log, a time in UTC, a GTID or a place in the binlog (binlog.000042:1337); the
      last two are one agent's. Files that were written stay; lines that come again begin a new file.
  rivulet-collector backup --config FILE --to FILE
      Copies the journal as it is at this moment, also while the collector runs.
  rivulet-collector pki init [--dir DIR]
      Makes the authority that signs all certificates: DIR/ca.pem for all, DIR/ca.key for nobody.
  rivulet-collector pki agent NAME [--dir DIR]
      Makes an agent's certificate and key, DIR/agents/NAME.pem and NAME.key; NAME is the `agent`
      of its configuration.
  rivulet-collector pki collector HOST… [--dir DIR]
      Makes the collector's certificate and key, DIR/collector.pem and collector.key, with the
      names and addresses that agents call.
  rivulet-collector check --config FILE
      Tells all that is wrong with a configuration and with the files that it names.
  rivulet-collector --help | --version

EXAMPLES
  rivulet-collector pki init --dir pki
  rivulet-collector pki collector collector.example.net --dir pki
  rivulet-collector pki agent edge-17 --dir pki
  rivulet-collector serve --config /etc/rivulet-collector/collector.toml
  rivulet-collector replay -c collector.toml --sink changes --from 2026-11-21T10:00:00Z
  rivulet-collector backup -c collector.toml --to /backup/journal-$(date +%F).db

FILES
  /etc/rivulet-collector/collector.toml   by convention; configs/collector.toml documents it
  /var/lib/rivulet-collector              the default data_dir: journal.db
  pki                                     where `pki` writes without --dir

";

fn main() -> ExitCode {
    let result = args::parse(std::env::args_os().skip(1)).map_err(Failure::from).and_then(run);
    common::exit("rivulet-collector", result)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => print(format_args!("{HELP}{EXIT_CODES}")),
        Command::Version => {
            print(format_args!("rivulet-collector {}\n", env!("CARGO_PKG_VERSION")))
        }
        Command::Check { config } => check(&config),
        Command::Serve { config } => serve(&config),
        Command::Replay { config, sink, from, agent } => {
            replay(&config, &sink, &from, agent.as_deref())
        }
        Command::Backup { config, to } => backup(&config, &to),
        Command::Pki { make, dir } => issue(&make, &dir),
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    configuration(path, |text| Config::parse(text, &env))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let parse = |text: &str| Config::parse(text, &env);
    let (config, text) = common::read(path, parse)?;
    logger::install(config.log).map_err(Failure::runtime)?;
    let requests = signals::requests().map_err(Failure::runtime)?;
    let reread = common::rereader(path, text, reload::LIVE, parse);
    serve::run(&config, Operator { requests, reread }).map_err(Failure::runtime)
}

fn replay(path: &Path, sink: &str, from: &From, agent: Option<&str>) -> Result<(), Failure> {
    let config = load(path)?;
    if !config.sinks.iter().any(|known| known.name == sink) {
        let names: Vec<_> = config.sinks.iter().map(|known| known.name.as_str()).collect();
        let why = format!("{sink:?} is no sink of {}: {}", path.display(), names.join(", "));
        return Err(Failure::runtime(why));
    }
    let replay = replay::replay(&config.journal.path, sink, from, agent);
    let replay::Replay { first, begun } = replay.map_err(Failure::runtime)?;
    match begun {
        true => print(format_args!("sink {sink}: is replayed from entry {first} on\n")),
        false => print(format_args!(
            "sink {sink}: will be replayed from entry {first} on, as soon as the collector runs\n"
        )),
    }
}

fn backup(path: &Path, to: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    let copied = log::backup(&config.journal.path, to).map_err(Failure::runtime)?;
    let log::Copied { last, bytes } = copied;
    print(format_args!("{}: {bytes} bytes, up to entry {last}\n", to.display()))
}

fn issue(make: &Make, dir: &Path) -> Result<(), Failure> {
    let issued = match make {
        Make::Init => pki::init(dir, pki::CA_DAYS),
        Make::Agent(name) => pki::agent(dir, name, pki::LEAF_DAYS),
        Make::Collector(hosts) => pki::collector(dir, hosts, pki::LEAF_DAYS),
    };
    let pki::Issued { certificate, key } = issued.map_err(Failure::runtime)?;
    print(format_args!("{}\n{}\n", certificate.display(), key.display()))
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    let mut findings = Findings::default();
    findings.directory("data_dir", &config.data_dir);
    if let Some(listen) = &config.listen {
        findings.identity(&listen.ca, &listen.certificate, &listen.key);
    }
    if let Some(broker) = &config.broker {
        match &broker.identity {
            Some((certificate, key)) => findings.identity(&broker.ca, certificate, key),
            None => findings.authority(&broker.ca),
        }
        findings.note(broker.password.read());
    }
    for sink in &config.sinks {
        if let SinkKind::File { directory, .. } = &sink.kind {
            findings.directory(&format!("sink {}:", sink.name), directory);
        }
    }
    findings.finish()?;
    print(format_args!("{}: all is well\n", path.display()))
}
