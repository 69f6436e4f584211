//! Real processes from a server to a file, and everything that can happen to them.

use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::harness::agree::{self, Agreement};
use super::harness::pipeline::Pipeline;
use super::harness::process::{Process, RIVULET, run};
use super::harness::relay::TcpRelay;
use super::harness::rough::{Clock, SmallDisk};
use super::harness::server::Server;
use super::way::Way;

pub const DAY_S: i64 = 86_400;
/// The agent's disk holds its buffer; the collector's the log.
const DISKS_MIB: [u32; 2] = [40, 400];
/// After a full disk a process may end, if it was being started.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How long all may take to arrive once nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(240);

fn milliseconds(random: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Agent,
    Collector,
}

const ENDS: [End; 2] = [End::Agent, End::Collector];

/// A pipeline and everything that can happen to it.
pub struct Chaos {
    // The disks are unmounted before the pipeline's folder goes.
    disks: [SmallDisk; 2],
    pipeline: Pipeline,
    way: Way,
    source: TcpRelay,
    clocks: [Clock; 2],
    seed: u64,
    random: fastrand::Rng,
    /// When the disk was last full, at either end.
    full_at: [Option<Instant>; 2],
    began: Instant,
    done: Done,
}

/// What has happened.
#[derive(Debug, Default)]
struct Done {
    kills_of_agent: u32,
    kills_of_collector: u32,
    kills_of_broker: u32,
    /// So many of them with all that it had on disk.
    of_them_forgotten: u32,
    cuts: u32,
    storms: u32,
    source_cuts: u32,
    full_disks: u32,
    clock_jumps: u32,
    given_up: u32,
}

impl Chaos {
    /// The agent speaks with the collector.
    pub fn straight(server: &Server, seed: u64) -> Self {
        let source = TcpRelay::start(server.port);
        let (pipeline, relay) = Pipeline::through(server, &source, seed);
        Self::start(pipeline, Way::Straight(relay), source, seed)
    }

    /// Both speak with a broker.
    pub fn brokered(server: &Server, seed: u64) -> Self {
        let source = TcpRelay::start(server.port);
        let (pipeline, broker, relays) = Pipeline::through_broker(server, &source);
        Self::start(pipeline, Way::Brokered(Box::new(broker), relays), source, seed)
    }

    fn start(mut pipeline: Pipeline, way: Way, source: TcpRelay, seed: u64) -> Self {
        let folders = ["agent", "collector"];
        let clocks = folders.map(|end| Clock::new(pipeline.path(&format!("{end}.clock"))));
        pipeline.runners = [clocks[0].runner(), clocks[1].runner()];
        let mut sizes = DISKS_MIB.into_iter();
        let disks = folders
            .map(|end| SmallDisk::mount(&pipeline.path(end), sizes.next().expect("one for each")));
        let mut chaos = Self {
            disks,
            pipeline,
            way,
            source,
            clocks,
            seed,
            random: fastrand::Rng::with_seed(seed),
            full_at: [None; 2],
            began: Instant::now(),
            done: Done::default(),
        };
        chaos.pipeline.start_collector();
        chaos.pipeline.start_agent();
        chaos
    }

    /// So many kills, among other things, beside a load that ends with a mark; then all has to arrive, once
    /// and in order. `load` is told how much of the kills is over, in thousandths, as they go on.
    pub fn live<L: Send + 'static>(
        &mut self,
        kills: u64,
        load: impl FnOnce(mpsc::Receiver<u64>) -> (L, String) + Send + 'static,
        check: impl FnOnce(&L, &str) -> Result<Agreement, String>,
    ) -> (L, Agreement) {
        let (progress, inbox) = mpsc::channel();
        let load = thread::spawn(move || load(inbox));
        for kill in 1..=kills {
            // Who needs no shares of the load hears nothing.
            let _ = progress.send(kill * 1000 / kills);
            self.turn();
        }
        drop(progress);
        let (load, mark) = load.join().expect("the load ends by itself");
        self.settle(&mark);
        let agreement =
            check(&load, &self.pipeline.lines()).unwrap_or_else(|what| panic!("{what}"));
        (load, agreement)
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
            0..6 => {
                self.way.storm(&mut self.random);
                self.done.storms += 1;
            }
            6..9 => self.cut(),
            9..11 => self.jump(),
            11..13 => self.fill(),
            13 => {
                self.source.cut();
                self.done.source_cuts += 1;
            }
            14..19 => self.way.calm(),
            _ => {}
        }
        if self.way.broker().is_some() && self.random.u8(..3) == 0 {
            return self.kill_broker();
        }
        let end = ENDS[self.random.usize(..2)];
        self.revive(end);
        self.kill(end);
        let wait = milliseconds(&mut self.random, 0..100);
        sleep(wait);
        self.run_again(end);
    }

    fn kill(&mut self, end: End) {
        self.process(end).kill();
        match end {
            End::Agent => self.done.kills_of_agent += 1,
            End::Collector => self.done.kills_of_collector += 1,
        }
    }

    /// What it has on disk stays, or goes with it.
    fn kill_broker(&mut self) {
        let wait = milliseconds(&mut self.random, 0..400);
        let Some(broker) = self.way.broker() else { return };
        broker.must_run();
        if self.random.bool() {
            broker.crash();
        } else {
            broker.kill();
            self.done.of_them_forgotten += 1;
        }
        self.done.kills_of_broker += 1;
        sleep(wait);
        broker.run();
    }

    /// Long enough to be noticed, or not.
    fn cut(&mut self) {
        let wait = milliseconds(&mut self.random, 50..6000);
        self.way.cut(wait, &mut self.random);
        self.done.cuts += 1;
    }

    fn jump(&mut self) {
        let clock = &self.clocks[self.random.usize(..2)];
        clock.set([-DAY_S, 0, DAY_S][self.random.usize(..3)]);
        self.done.clock_jumps += 1;
    }

    /// A disk is full for a while, in which its process may be killed.
    fn fill(&mut self) {
        let end = ENDS[self.random.usize(..2)];
        self.disks[end as usize].fill();
        let wait = milliseconds(&mut self.random, 100..1500);
        sleep(wait);
        if self.random.bool() {
            self.kill(end);
            self.run_again(end);
            sleep(wait);
        }
        self.disks[end as usize].empty();
        self.full_at[end as usize] = Some(Instant::now());
        self.done.full_disks += 1;
    }

    /// Nothing happens any more; then all has to arrive.
    fn settle(&mut self, mark: &str) {
        self.way.calm();
        self.clocks.iter().for_each(|clock| clock.set(0));
        ENDS.into_iter().for_each(|end| self.revive(end));
        agree::wait_for(&mut self.pipeline, mark, PATIENCE);
    }

    /// What has happened, and how long it took.
    pub fn told(&self) -> String {
        let (seconds, done) = (self.began.elapsed().as_secs_f64(), &self.done);
        match &self.way {
            Way::Straight(_) => format!("{seconds:.0} s, {done:?}; {}", self.way.said()),
            Way::Brokered(..) => format!("{seconds:.0} s, {done:?}"),
        }
    }
}

impl Drop for Chaos {
    /// What a failure leaves is told, as long as it is there.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let config = self.pipeline.path("agent.toml");
        let arguments = ["status", "--json", "--config", config.to_str().unwrap_or_default()];
        let status = run(RIVULET, &arguments);
        eprintln!(
            "SEED={}\n{}\n{} lines at the centre; the clocks show {:?}\n{}\n{}\nthe agent's status: {}{}",
            self.seed,
            self.told(),
            self.pipeline.lines().lines().count(),
            self.clocks.each_ref().map(Clock::shown),
            self.pipeline.said(),
            self.way.said(),
            String::from_utf8_lossy(&status.stdout),
            String::from_utf8_lossy(&status.stderr),
        );
    }
}
