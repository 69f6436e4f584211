//! Random tables, values, statements and settings on real servers: what Rivulet decodes, from the
//! file and from the stream, is what SELECT returns.
//!
//! ```text
//!   chance ──► writer ──statements──► server ──binlog──┬─ file ───► reader ─► model ─┐ equal at
//!                │                      │              └─ stream ─► reader ─► model ─┤ every mark
//!                └──── at every mark ───┴──── SELECT ────────────► snapshot ─────────┘
//! ```
//!
//! `VALUES` says how many values each server's readers compare, `SEED` repeats one run, `SERVERS`
//! leaves servers out. Without a seed there are two runs: of the one that is always the same, and of
//! a new one, which is printed. Without `VALUES` there is only the first, and it is short.

#![allow(unreachable_pub)]

#[path = "../../harness/mod.rs"]
mod harness;

mod chance;
mod column;
mod document;
mod got;
mod kind;
mod model;
mod reader;
mod table;
mod truth;
mod value;
mod writer;

use std::thread;
use std::time::Instant;

use harness::server::{Flavour, Server};
use reader::{Report, Way};
use writer::{Done, Writer};

/// Of each server and in all runs, where `VALUES` does not say.
const VALUES: u64 = 20_000;
const SEED: u64 = 20_260_101;
/// So many of a hundred statements may be refused; more, and the generator is at fault.
const REFUSED_MAX: u64 = 25;

/// What a reader warns of belongs to what it finds.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("{}: {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

#[test]
fn what_is_decoded_is_what_select_returns() {
    log::set_logger(&Warnings).expect("there is no other");
    log::set_max_level(log::LevelFilter::Warn);
    let asked = number("VALUES");
    let values = asked.unwrap_or(VALUES);
    let seeds = match number("SEED") {
        Some(seed) => vec![seed],
        None if asked.is_some() => vec![SEED, fastrand::u64(..1_000_000_000)],
        None => vec![SEED],
    };
    println!("{values} values of each server, seeds {seeds:?} (SEED=n repeats one)");
    let flavours = Flavour::chosen();
    let wrong: u64 = thread::scope(|scope| {
        let examine = |flavour: &Flavour| examine(*flavour, &seeds, values / seeds.len() as u64);
        let threads: Vec<_> =
            flavours.iter().map(|flavour| scope.spawn(move || examine(flavour))).collect();
        threads.into_iter().map(|it| it.join().expect("an exam that ends")).sum()
    });
    assert_eq!(wrong, 0, "see above");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}")))
}

/// How much is wrong.
fn examine(flavour: Flavour, seeds: &[u64], values: u64) -> u64 {
    // Small events, so that many statements have more than one.
    let size: &[&str] = &["--binlog-row-event-max-size=2048"];
    let server = Server::start(flavour, size);
    seeds.iter().map(|seed| run(&server, *seed, values)).sum()
}

fn run(server: &Server, seed: u64, values: u64) -> u64 {
    for name in [reader::MARK.0, table::SCHEMA] {
        server.sql(&format!("drop database if exists {name}"));
    }
    server.reset_logs();
    let start = Instant::now();
    let (done, reports) = thread::scope(|scope| {
        let (outlets, inlets): (Vec<_>, Vec<_>) = (0..2).map(|_| truth::way()).unzip();
        let ways = [Way::File, Way::Stream];
        let readers: Vec<_> = ways
            .into_iter()
            .zip(inlets)
            .map(|(way, inlet)| (way, scope.spawn(move || reader::run(way, server, inlet))))
            .collect();
        let done = Writer::new(server, seed, &outlets).run(values);
        drop(outlets);
        let join = |(way, thread): (Way, thread::ScopedJoinHandle<'_, Report>)| {
            (way, thread.join().unwrap_or_else(|_| panic!("{way:?}: a reader panicked")))
        };
        (done, readers.into_iter().map(join).collect::<Vec<_>>())
    });
    let name = format!("{}, seed {seed}", server.flavour);
    let seconds = start.elapsed().as_secs();
    reports.iter().map(|(way, report)| told(&name, *way, report, seconds)).sum::<u64>()
        + refused(&name, &done)
}

/// Prints what a reader found; how much is wrong.
fn told(name: &str, way: Way, report: &Report, seconds: u64) -> u64 {
    let Report { values, rows, transactions, .. } = report;
    let wrong: u64 = report.differences.values().map(|(count, _)| count).sum();
    println!(
        "{name}, {way:?}: {values} values, {rows} rows, {transactions} transactions, \
         {wrong} differences, {seconds} s"
    );
    for (kind, (count, first)) in report.differences.iter().take(40) {
        println!("  {count} times {kind}:\n    {first}");
    }
    if let Some(failure) = &report.failure {
        println!("  stopped: {failure}");
    }
    wrong + u64::from(report.failure.is_some())
}

fn refused(name: &str, done: &Done) -> u64 {
    let refused: u64 = done.refused.values().map(|(count, _)| count).sum();
    println!("{name}: {} statements, {refused} refused by the server", done.statements);
    let much = refused * 100 > done.statements * REFUSED_MAX;
    if much || std::env::var_os("REFUSED").is_some() {
        for (code, (count, first)) in &done.refused {
            println!("  {count} times {code}: {first}");
        }
    }
    u64::from(much)
}
