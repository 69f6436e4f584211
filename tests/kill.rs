//! Nothing is lost and nothing comes twice, whenever agent or collector die: `kill -9` at random
//! moments while a real MariaDB commits, then the sink's lines against the server's tables.
//!
//! The same, shorter, on each server with XA transactions, compression and partial documents taking turns.
//!
//! `KILLS=500` kills more often; `TRANSACTIONS` and `SEED` change the load and the moments.

#![allow(unreachable_pub)]

mod harness;

use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::Duration;

use harness::agree;
use harness::mixed::Mixed;
use harness::pipeline::Pipeline;
use harness::server::{Flavour, Server};
use harness::workload::Workload;

/// What a parameter says, or what it is by default.
fn parameter(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number"))
}

#[test]
fn any_kill_loses_nothing_and_repeats_nothing() {
    let (kills, transactions) = (parameter("KILLS", 50), parameter("TRANSACTIONS", 20_000));
    let seed = parameter("SEED", fastrand::u64(..1_000_000));
    println!("SEED={seed} KILLS={kills} TRANSACTIONS={transactions}");
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let mut pipeline = Pipeline::new(&server, "64MiB");
    let mut workload = Workload::new(&server, seed);
    pipeline.start_collector();
    pipeline.start_agent();

    // The load goes on beside the kills, a share of it for each.
    let (shares, inbox) = mpsc::channel::<u64>();
    let load = thread::spawn(move || {
        for share in inbox {
            (0..share).for_each(|_| workload.step());
        }
        let mark = workload.mark();
        (workload, mark)
    });
    let (agents, collectors) = kill_at_random(&mut pipeline, kills, seed, |kill| {
        let share = transactions * (kill + 1) / kills - transactions * kill / kills;
        shares.send(share).expect("the load runs until there are no more shares");
    });
    if kills == 0 {
        shares.send(transactions).expect("the load runs until there are no more shares");
    }
    drop(shares);
    let (workload, mark) = load.join().expect("the load ends by itself");
    agree::wait_for(&mut pipeline, &mark, Duration::from_secs(180));
    let agreement = agree::check(&server, &pipeline.lines(), workload.changes)
        .unwrap_or_else(|what| panic!("SEED={seed}: {what}\n{}", pipeline.said()));
    println!(
        "{agents} kills of the agent, {collectors} of the collector, {} transactions: {} lines, {} rows as by SELECT",
        workload.transactions, agreement.lines, agreement.rows
    );
}

/// Kills one of both, again and again, and starts it again; how often which.
fn kill_at_random(
    pipeline: &mut Pipeline,
    kills: u64,
    seed: u64,
    mut before: impl FnMut(u64),
) -> (u32, u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut agents, mut collectors) = (0, 0);
    for kill in 0..kills {
        before(kill);
        sleep(Duration::from_millis(random.u64(5..700)));
        if random.bool() {
            pipeline.agent().must_run();
            pipeline.agent().kill();
            sleep(Duration::from_millis(random.u64(..100)));
            pipeline.start_agent();
            agents += 1;
        } else {
            pipeline.collector().must_run();
            pipeline.collector().kill();
            sleep(Duration::from_millis(random.u64(..100)));
            pipeline.start_collector();
            collectors += 1;
        }
    }
    (agents, collectors)
}

#[test]
fn no_kill_tears_what_is_prepared_compressed_or_partial() {
    let (kills, transactions) =
        (parameter("KILLS", 50) / 3, parameter("TRANSACTIONS", 20_000) / 20);
    for flavour in Flavour::chosen() {
        let seed = parameter("SEED", fastrand::u64(..1_000_000));
        println!("{flavour}: SEED={seed} KILLS={} TRANSACTIONS={}", kills * 3, transactions * 20);
        let server = Server::start(flavour, SETTINGS[usize::from(!flavour.is_mysql())]);
        let mut pipeline = Pipeline::new(&server, "16MiB");
        let mut load = Mixed::new(server, seed);
        pipeline.start_collector();
        pipeline.start_agent();
        let (done, busy) = mpsc::channel::<()>();
        let load = thread::spawn(move || {
            (0..transactions).for_each(|_| load.step());
            drop(done);
            let mark = load.mark();
            (load, mark)
        });
        let (agents, collectors) = kill_at_random(&mut pipeline, kills, seed, |_| ());
        let _ = busy.recv();
        let (load, mark) = load.join().expect("the load ends by itself");
        agree::wait_for(&mut pipeline, &mark, Duration::from_secs(180));
        let lines = pipeline.lines();
        let agreement = agree::check(load.server(), &lines, load.changes)
            .unwrap_or_else(|what| panic!("{flavour}: SEED={seed}: {what}\n{}", pipeline.said()));
        println!(
            "{flavour}: {agents} kills of the agent, {collectors} of the collector, {} transactions, {} of \
             them prepared: {} lines, {} rows as by SELECT",
            load.transactions, load.prepared, agreement.lines, agreement.rows
        );
    }
}

/// So that what is small is compressed, too.
const SETTINGS: [&[&str]; 2] = [
    &["--binlog-format=ROW", "--transaction-isolation=READ-COMMITTED"],
    &["--binlog-format=ROW", "--log-bin-compress-min-len=10"],
];
