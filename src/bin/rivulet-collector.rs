//! SHELL: the centre's command line.

use std::path::Path;
use std::process::ExitCode;

use rivulet::collector::{pki, serve};
use rivulet::config::collector::{Config, SinkKind};
use rivulet::telemetry::signals;

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
        Command::Pki { make, dir } => issue(&make, &dir),
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    configuration(path, |text| Config::parse(text, &env))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    common::log_as(config.log)?;
    let stop = signals::stop_requests().map_err(Failure::runtime)?;
    serve::run(&config, &stop).map_err(Failure::runtime)
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
    findings.identity(&config.listen.ca, &config.listen.certificate, &config.listen.key);
    for sink in &config.sinks {
        if let SinkKind::File { directory, .. } = &sink.kind {
            findings.directory(&format!("sink {}:", sink.name), directory);
        }
    }
    findings.finish()?;
    print(format_args!("{}: all is well\n", path.display()))
}
