//! Nothing is lost and nothing comes twice, whatever happens to real processes: `kill -9` of agent and
//! collector, datagrams that are dropped, delayed, doubled and overtaken, links that are cut, clocks that
//! jump by a day, disks that fill up. In the end the sink's lines equal the server's tables.
//!
//! | variable | what |
//! |---|---|
//! | `KILLS=n` | so many kills in each test, shared by its servers |
//! | `TRANSACTIONS=n` | the load |
//! | `SEED=n` | the load and the troubles; not the moments |

#![allow(unreachable_pub)]

mod harness;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::agree;
use harness::mixed::Mixed;
use harness::pipeline::Pipeline;
use harness::process::Process;
use harness::relay::{TcpRelay, UdpRelay, Weather};
use harness::rough::{Clock, SmallDisk, may_mount};
use harness::server::{Flavour, Server};
use harness::workload::Workload;

const DAY_S: i64 = 86_400;
/// The agent's disk holds its buffer; the collector's the log and the sink's files.
const DISKS_MIB: [u32; 2] = [40, 400];
/// After a full disk a process may end, if it was being started.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What a parameter says, or what it is by default.
fn parameter(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number"))
}

fn milliseconds(random: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Agent,
    Collector,
}

/// A pipeline and everything that can happen to it.
struct Chaos {
    // The disks are unmounted before the pipeline's folder goes.
    disks: [SmallDisk; 2],
    pipeline: Pipeline,
    relay: UdpRelay,
    source: TcpRelay,
    clocks: [Clock; 2],
    random: fastrand::Rng,
    /// When the disk was last full, at either end.
    full_at: [Option<Instant>; 2],
    done: Done,
}

/// What has happened.
#[derive(Debug, Default)]
struct Done {
    kills: [u32; 2],
    cuts: u32,
    storms: u32,
    source_cuts: u32,
    full_disks: u32,
    clock_jumps: u32,
    given_up: u32,
}

impl Chaos {
    fn start(server: &Server, seed: u64) -> Self {
        let source = TcpRelay::start(server.port);
        let (mut pipeline, relay) = Pipeline::through(server, &source, seed);
        let folders = ["agent", "collector"];
        let clocks = folders.map(|end| Clock::new(pipeline.path(&format!("{end}.clock"))));
        pipeline.runners = [clocks[0].runner(), clocks[1].runner()];
        let mut sizes = DISKS_MIB.into_iter();
        let disks = folders
            .map(|end| SmallDisk::mount(&pipeline.path(end), sizes.next().expect("one for each")));
        let mut chaos = Self {
            disks,
            pipeline,
            relay,
            source,
            clocks,
            random: fastrand::Rng::with_seed(seed),
            full_at: [None; 2],
            done: Done::default(),
        };
        chaos.pipeline.start_collector();
        chaos.pipeline.start_agent();
        chaos
    }

    fn process(&mut self, end: End) -> &mut Process {
        match end {
            End::Agent => self.pipeline.agent(),
            End::Collector => self.pipeline.collector(),
        }
    }

    fn run_again(&mut self, end: End) {
        match end {
            End::Agent => self.pipeline.start_agent(),
            End::Collector => self.pipeline.start_collector(),
        }
    }

    /// As whoever looks after a service does: it is started again if it gave up because there was no space
    /// at its start. Anything else is a failure.
    fn revive(&mut self, end: End) {
        let excuse = self.full_at[end as usize].is_some_and(|at| at.elapsed() < AFTERMATH);
        if self.process(end).ended().is_some() && excuse {
            self.done.given_up += 1;
            return self.run_again(end);
        }
        self.process(end).must_run();
    }

    /// One kill, and perhaps other things before it.
    fn turn(&mut self) {
        let wait = milliseconds(&mut self.random, 5..700);
        sleep(wait);
        match self.random.u8(..24) {
            0..6 => self.storm(),
            6..9 => self.cut(),
            9..11 => self.jump(),
            11..13 => self.fill(),
            13 => {
                self.source.cut();
                self.done.source_cuts += 1;
            }
            14..19 => self.relay.weather(Weather::default()),
            _ => {}
        }
        let end = if self.random.bool() { End::Agent } else { End::Collector };
        self.revive(end);
        self.process(end).kill();
        self.done.kills[end as usize] += 1;
        let wait = milliseconds(&mut self.random, 0..100);
        sleep(wait);
        self.run_again(end);
    }

    fn storm(&mut self) {
        let random = &mut self.random;
        let delay_max = Duration::from_millis([0, 10, 60, 250][random.usize(..4)]);
        let (loss, twice) = (random.u16(..150), random.u16(..150));
        self.relay.weather(Weather { loss, twice, delay_max, cut: false });
        self.done.storms += 1;
    }

    /// Long enough to be noticed, or not.
    fn cut(&mut self) {
        self.relay.weather(Weather { cut: true, ..Weather::default() });
        let wait = milliseconds(&mut self.random, 50..6000);
        sleep(wait);
        self.relay.weather(Weather::default());
        self.done.cuts += 1;
    }

    fn jump(&mut self) {
        let clock = &self.clocks[self.random.usize(..2)];
        clock.set([-DAY_S, 0, DAY_S][self.random.usize(..3)]);
        self.done.clock_jumps += 1;
    }

    /// A disk is full for a while, in which its process may be killed.
    fn fill(&mut self) {
        let end = [End::Agent, End::Collector][self.random.usize(..2)];
        self.disks[end as usize].fill();
        let wait = milliseconds(&mut self.random, 100..1500);
        sleep(wait);
        if self.random.bool() {
            self.process(end).kill();
            self.run_again(end);
            self.done.kills[end as usize] += 1;
            sleep(wait);
        }
        self.disks[end as usize].empty();
        self.full_at[end as usize] = Some(Instant::now());
        self.done.full_disks += 1;
    }

    /// Nothing happens any more; then all has to arrive.
    fn settle(&mut self, mark: &str) {
        self.relay.weather(Weather::default());
        self.clocks.iter().for_each(|clock| clock.set(0));
        [End::Agent, End::Collector].into_iter().for_each(|end| self.revive(end));
        agree::wait_for(&mut self.pipeline, mark, Duration::from_secs(240));
    }

    fn tell(&self, flavour: Flavour) {
        let counts = &self.relay.counts;
        let [passed, lost, twice, overtaken] =
            [&counts.passed, &counts.lost, &counts.twice, &counts.overtaken]
                .map(|n| n.load(Relaxed));
        println!(
            "{flavour}: {:?}; datagrams: {passed} passed, {lost} lost, {twice} doubled, {overtaken} overtaken",
            self.done
        );
    }
}

#[test]
fn any_trouble_loses_nothing_and_repeats_nothing() {
    if !may_mount("any_trouble_loses_nothing_and_repeats_nothing") {
        return;
    }
    let mut flavours = Flavour::chosen();
    // One of each family, if there are more.
    flavours.dedup_by_key(|flavour| flavour.is_mysql());
    let count = flavours.len() as u64;
    let (kills, transactions) =
        (parameter("KILLS", 40) / count, parameter("TRANSACTIONS", 16_000) / count);
    for flavour in flavours {
        let seed = parameter("SEED", fastrand::u64(..1_000_000));
        println!(
            "{flavour}: SEED={seed} KILLS={} TRANSACTIONS={}",
            kills * count,
            transactions * count
        );
        let server = Server::start(flavour, &[]);
        let mut chaos = Chaos::start(&server, seed);
        let mut workload = Workload::new(&server, seed);
        // The load goes on beside the kills, a share of it for each.
        let (shares, inbox) = mpsc::channel::<u64>();
        let load = thread::spawn(move || {
            for share in inbox {
                (0..share).for_each(|_| workload.step());
            }
            let mark = workload.mark();
            (workload, mark)
        });
        for kill in 0..kills {
            let share = transactions * (kill + 1) / kills - transactions * kill / kills;
            shares.send(share).expect("the load runs until there are no more shares");
            chaos.turn();
        }
        drop(shares);
        let (workload, mark) = load.join().expect("the load ends by itself");
        chaos.settle(&mark);
        let agreement = agree::check(&server, &chaos.pipeline.lines(), workload.changes)
            .unwrap_or_else(|what| panic!("SEED={seed}: {what}\n{}", chaos.pipeline.said()));
        chaos.tell(flavour);
        println!(
            "{flavour}: {} transactions: {} lines, {} rows as by SELECT",
            workload.transactions, agreement.lines, agreement.rows
        );
    }
}

#[test]
fn no_trouble_tears_what_is_prepared_compressed_or_partial() {
    if !may_mount("no_trouble_tears_what_is_prepared_compressed_or_partial") {
        return;
    }
    let flavours = Flavour::chosen();
    let count = flavours.len() as u64;
    let (kills, transactions) =
        (parameter("KILLS", 40) / count, parameter("TRANSACTIONS", 16_000) / 16);
    for flavour in flavours {
        let seed = parameter("SEED", fastrand::u64(..1_000_000));
        println!(
            "{flavour}: SEED={seed} KILLS={} TRANSACTIONS={}",
            kills * count,
            transactions * 16
        );
        let server = Server::start(flavour, SETTINGS[usize::from(!flavour.is_mysql())]);
        let mut chaos = Chaos::start(&server, seed);
        let mut load = Mixed::new(server, seed);
        let load = thread::spawn(move || {
            (0..transactions).for_each(|_| load.step());
            let mark = load.mark();
            (load, mark)
        });
        (0..kills).for_each(|_| chaos.turn());
        let (load, mark) = load.join().expect("the load ends by itself");
        chaos.settle(&mark);
        let agreement = agree::check(load.server(), &chaos.pipeline.lines(), load.changes)
            .unwrap_or_else(|what| {
                panic!("{flavour}: SEED={seed}: {what}\n{}", chaos.pipeline.said())
            });
        chaos.tell(flavour);
        println!(
            "{flavour}: {} transactions, {} of them prepared: {} lines, {} rows as by SELECT",
            load.transactions, load.prepared, agreement.lines, agreement.rows
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
