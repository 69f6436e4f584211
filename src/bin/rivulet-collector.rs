//! SHELL: the centre's command line.

use std::path::Path;
use std::process::ExitCode;

use rivulet::collector::replay::{self, From};
use rivulet::collector::serve::{self, Operator};
use rivulet::collector::{log, pki};
use rivulet::config::collector::{Config, SinkKind};
use rivulet::telemetry::{logger, signals};

#[path = "rivulet-collector/args.rs"]
mod args;
mod common;

use args::{Command, Make};
use common::{EXIT_CODES, Failure, Findings, configuration, env, print};

const HELP: &str = include_str!("rivulet-collector/help.txt");

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
    let reload = common::reload(path, &text, parse);
    serve::run(&config, Operator { requests, reload }).map_err(Failure::runtime)
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_lists_every_option() {
        super::common::check_help(super::HELP, include_str!("rivulet-collector/args.rs"));
    }
}
