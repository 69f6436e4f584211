//! The collector is away for a while under load: the agent keeps what it cannot send on disk and not
//! in memory, and then everything arrives, in order.
//!
//! `PAUSE_S` is how long the collector is away, 15 seconds by default; `PAUSE_S=60` is what is promised.

#![allow(unreachable_pub)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::agree;
use harness::pipeline::Pipeline;
use harness::process::wait_until;
use harness::server::{Flavour, Server};
use harness::workload::Workload;

/// How much more memory an agent may have at its highest during the outage than before, in KiB.
const GROWTH_KIB_MAX: u64 = 4 << 10;
/// The load before the outage that memory is compared with.
const WARM_UP: Duration = Duration::from_secs(6);
/// A transaction every so often.
const PACE: Duration = Duration::from_millis(3);

#[test]
fn an_outage_of_the_collector_delays_and_no_more() {
    let pause_s = std::env::var("PAUSE_S").map_or(15, |text| {
        text.parse().unwrap_or_else(|_| panic!("PAUSE_S is `{text}`, must be a number"))
    });
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let mut pipeline = Pipeline::new(&server, "64MiB");
    let mut workload = Workload::new(&server, 7);
    pipeline.start_collector();
    pipeline.start_agent();
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let load = thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            workload.step();
            sleep(PACE);
        }
        workload
    });
    sleep(WARM_UP);
    wait_until("the first lines", Duration::from_secs(20), || !pipeline.lines().is_empty());
    let (_, before_kib) = pipeline.agent().memory_kib().expect("the agent runs");
    let status = pipeline.collector().terminate(Duration::from_secs(10));
    assert!(status.success(), "the collector ends with {status}\n{}", pipeline.said());
    let arrived = pipeline.lines().len();

    let start = Instant::now();
    let mut highest_kib = 0;
    while start.elapsed() < Duration::from_secs(pause_s) {
        pipeline.agent().must_run();
        let (now_kib, _) = pipeline.agent().memory_kib().expect("the agent runs");
        highest_kib = highest_kib.max(now_kib);
        sleep(Duration::from_millis(200));
    }
    assert_eq!(pipeline.lines().len(), arrived, "lines without a collector");
    pipeline.start_collector();
    // The load goes on while the agent catches up.
    sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    let mut workload = load.join().expect("the load ends when it is told to");
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, Duration::from_secs(120));
    let agreement = agree::check(&server, &pipeline.lines(), workload.changes)
        .unwrap_or_else(|what| panic!("{what}\n{}", pipeline.said()));
    println!(
        "{pause_s} s without a collector, {} transactions: {} lines, {} rows as by SELECT; \
         agent's memory {before_kib} KiB before, {highest_kib} KiB at its highest in the outage",
        workload.transactions, agreement.lines, agreement.rows
    );
    assert!(
        highest_kib <= before_kib + GROWTH_KIB_MAX,
        "the agent grew from {before_kib} to {highest_kib} KiB"
    );
    let status = pipeline.agent().terminate(Duration::from_secs(10));
    assert!(status.success(), "the agent ends with {status}\n{}", pipeline.said());
}
