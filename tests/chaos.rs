//! Nothing is lost and nothing comes twice, whatever happens to real processes: `kill -9` of agent,
//! collector and broker, datagrams that are dropped, delayed, doubled and overtaken, links that are cut,
//! clocks that jump by a day, disks that fill up. In the end the sink's lines equal the server's tables.
//!
//! | variable | what |
//! |---|---|
//! | `KILLS=n` | so many kills in each test, shared by its servers |
//! | `TRANSACTIONS=n` | the load |
//! | `SEED=n` | the load and the troubles; not the moments |

#![allow(unreachable_pub)]

mod harness;
#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/way.rs"]
mod way;

use std::sync::mpsc::Receiver;

use harness::agree;
use harness::mixed::Mixed;
use harness::rough::{Clock, may_mount};
use harness::server::{Flavour, Server};
use harness::workload::Workload;
use trouble::{Chaos, DAY_S};

/// What a parameter says, or what it is by default.
fn parameter(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number"))
}

/// A test's parameters, of which each of its servers has a share.
struct Share {
    flavour: Flavour,
    seed: u64,
    kills: u64,
    transactions: u64,
}

/// One for each server, and said.
fn shares(flavours: Vec<Flavour>, kills: u64, transactions: u64) -> Vec<Share> {
    let count = flavours.len() as u64;
    let (kills, transactions) =
        (parameter("KILLS", kills), parameter("TRANSACTIONS", transactions));
    let share = |flavour| {
        let seed = parameter("SEED", fastrand::u64(..1_000_000));
        println!("{flavour}: SEED={seed} KILLS={kills} TRANSACTIONS={transactions}");
        Share { flavour, seed, kills: kills / count, transactions: transactions / count }
    };
    flavours.into_iter().map(share).collect()
}

/// One of each family, if there are more.
fn families() -> Vec<Flavour> {
    let mut flavours = Flavour::chosen();
    flavours.dedup_by_key(|flavour| flavour.is_mysql());
    flavours
}

/// The load goes on beside the kills, a share of it for each; `photos` large rows are among it.
fn shop(
    mut workload: Workload,
    (transactions, photos): (u64, u64),
    mut random: fastrand::Rng,
    inbox: Receiver<u64>,
) -> (Workload, String) {
    let mut done = 0;
    for thousandths in inbox {
        let until = transactions * thousandths / 1000;
        for number in done..until {
            workload.step();
            if photos > 0 && number % (transactions / photos).max(1) == 0 {
                // From one kilobyte to some hundred, small ones more often.
                workload.photo((1000.0 * (random.f64() * 8.5).exp2()) as usize);
            }
        }
        done = until;
    }
    let mark = workload.mark();
    (workload, mark)
}

fn live_with_shop(server: &Server, chaos: &mut Chaos, share: &Share, photos: u64) {
    let (workload, transactions) = (Workload::new(server, share.seed), share.transactions);
    let random = fastrand::Rng::with_seed(share.seed);
    let (workload, agreement) = chaos.live(
        share.kills,
        move |inbox| shop(workload, (transactions, photos), random, inbox),
        |workload, lines| agree::check(server, lines, workload.changes),
    );
    println!(
        "{}: {}\n{}: {} transactions: {} lines, {} rows as by SELECT",
        share.flavour,
        chaos.told(),
        share.flavour,
        workload.transactions,
        agreement.lines,
        agreement.rows
    );
}

#[test]
fn any_trouble_loses_nothing_and_repeats_nothing() {
    if !may_mount("any_trouble_loses_nothing_and_repeats_nothing") {
        return;
    }
    for share in shares(families(), 40, 16_000) {
        let server = Server::start(share.flavour, &[]);
        live_with_shop(&server, &mut Chaos::straight(&server, share.seed), &share, 0);
    }
}

#[test]
fn no_trouble_at_a_broker_loses_anything_or_repeats_it() {
    if !may_mount("no_trouble_at_a_broker_loses_anything_or_repeats_it") {
        return;
    }
    for share in shares(families(), 16, 8_000) {
        let server = Server::start(share.flavour, &[]);
        let photos = share.kills;
        live_with_shop(&server, &mut Chaos::brokered(&server, share.seed), &share, photos);
    }
}

#[test]
fn no_trouble_tears_what_is_prepared_compressed_or_partial() {
    if !may_mount("no_trouble_tears_what_is_prepared_compressed_or_partial") {
        return;
    }
    for share in shares(Flavour::chosen(), 40, 16_000) {
        let flavour = share.flavour;
        let server = Server::start(flavour, SETTINGS[usize::from(!flavour.is_mysql())]);
        let mut chaos = Chaos::straight(&server, share.seed);
        let mut load = Mixed::new(server, share.seed);
        // Its transactions are large.
        let transactions = parameter("TRANSACTIONS", 16_000) / 16;
        let (load, agreement) = chaos.live(
            share.kills,
            move |_| {
                (0..transactions).for_each(|_| load.step());
                let mark = load.mark();
                (load, mark)
            },
            |load, lines| agree::check(load.server(), lines, load.changes),
        );
        println!(
            "{flavour}: {}\n{flavour}: {} transactions, {} of them prepared: {} lines, {} rows as by SELECT",
            chaos.told(),
            load.transactions,
            load.prepared,
            agreement.lines,
            agreement.rows
        );
    }
}

/// So that what is small is compressed, too.
const SETTINGS: [&[&str]; 2] = [
    &["--binlog-format=ROW", "--transaction-isolation=READ-COMMITTED"],
    &["--binlog-format=ROW", "--log-bin-compress-min-len=10"],
];

/// Without the jumps a day of chaos would prove nothing.
#[test]
fn a_clock_that_is_set_is_what_a_program_sees() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::new(folder.path().join("clock"));
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_secs() as i64
    };
    for jump in [0, DAY_S, -DAY_S] {
        clock.set(jump);
        let shown = clock.shown() - now();
        assert!((shown - jump).abs() < 60, "a jump of {jump} s is seen as one of {shown} s");
    }
}
