//! A world on one thread: agents, bad links, one collector, and a clock that we turn.
//!
//! Everything random comes from one seed, so a failure is reproduced by its seed alone.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rivulet::agent::pump::{Notice, PumpError};
use rivulet::buffer::Opening;
use rivulet::mqtt::{Input, ServerSettings};
use tempfile::TempDir;

use super::broker::{Broker, Habits};
use super::centre::{Centre, Seat};
use super::disk::Refused;
use super::edge::Edge;
use super::history::{History, Manner, Reading};
use super::link::{Arrival, End, Link, Weather, once_in};

/// How often the ends fail: one step in so many; 0 for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) agent_killed: u32,
    pub(crate) power_cut: u32,
    pub(crate) backup_restored: u32,
    pub(crate) buffer_lost: u32,
    /// Once, as soon as something of it has arrived: the new one has the same numbers.
    pub(crate) lost_early: bool,
    pub(crate) rotten: u32,
    pub(crate) disk_failed: u32,
    pub(crate) collector_killed: u32,
    pub(crate) broker_crashed: u32,
    pub(crate) history_reset: u32,
    pub(crate) failed_over: u32,
}

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    began: Instant,
    weather: Weather,
    faults: Faults,
    edges: Vec<Edge>,
    centre: Centre,
    links: BTreeMap<usize, Link>,
    links_made: usize,
    steps: u64,
    commits_left: u32,
    story: VecDeque<String>,
    _folder: TempDir,
}

/// The one end of an agent that it goes on after as if it had not been.
const KILLED: &str = "it is killed";
const STORY_MAX: usize = 120;
/// Far more than any seed needs once nothing fails any more.
const STEPS_TO_DRAIN: u32 = 20_000;
/// The same in the world's time: a dead link is noticed, what a broker dropped is sent again; with one batch under way at a
/// time and 900 ms to each answer it takes long.
const TIME_TO_DRAIN: Duration = Duration::from_secs(1200);
/// Batches that have arrived are taken in before so much time passes.
const INTAKE_MAX: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now = Instant::now();
        let folder = folder();
        let weather = Weather {
            cut_once_in: [0, 10, 40, 200][rng.usize(0..4)],
            die_once_in: [0, 0, 60, 200][rng.usize(0..4)],
            delay_max: Duration::from_millis([1, 50, 900][rng.usize(0..3)]),
        };
        // In some worlds no agent ever comes with another history than the one that it had.
        let forks = rng.u32(..3) > 0;
        let mut rate = |rates: [u32; 4]| rates[rng.usize(0..4)];
        let mut fork = |rates| if forks { rate(rates) } else { 0 };
        let faults = Faults {
            power_cut: fork([0, 0, 80, 300]),
            backup_restored: fork([0, 0, 0, 120]),
            buffer_lost: fork([0, 0, 0, 150]),
            lost_early: fork([0, 0, 1, 1]) > 0,
            rotten: fork([0, 0, 0, 60]),
            disk_failed: fork([0, 0, 0, 40]),
            history_reset: fork([0, 0, 0, 30]),
            agent_killed: rate([0, 50, 150, 400]),
            collector_killed: rate([0, 0, 100, 300]),
            failed_over: rate([0, 0, 0, 100]),
            broker_crashed: rate([0, 60, 200, 400]),
        };
        let broker = (rng.u32(..3) == 0).then(|| {
            Broker::new(Habits {
                drops_once_in: [0, 15, 60][rng.usize(..3)],
                repeats_once_in: [0, 10, 40][rng.usize(..3)],
                queue_max: [usize::MAX, 20, 5][rng.usize(..3)],
            })
        });
        let session = ServerSettings {
            receive_maximum: rng.u16(1..64),
            packet_bytes_max: 1 << 20,
            keep_alive_s_max: 60,
            patience: Duration::from_secs(30),
        };
        let edges = (0..rng.usize(1..3))
            .map(|index| {
                let (gtids, mariadb) = (rng.bool(), rng.bool());
                // Without GTIDs, what rots cannot be put in its place by such a clock: the agent stops, and says so.
                let can_rot = gtids || faults.rotten == 0;
                let unsteady_clock = faults.history_reset == 0 && rng.bool() && can_rot;
                let manner = Manner { gtids, mariadb, unsteady_clock };
                let (name, place) =
                    (format!("edge-{index}"), folder.path().join(index.to_string()));
                Edge::new(&name, place, History::new(manner), &mut rng, now)
            })
            .collect();
        Self {
            seed,
            centre: Centre::new(folder.path().join("centre"), session, broker),
            commits_left: rng.u32(10..80),
            rng,
            now,
            began: now,
            weather,
            faults,
            edges,
            links: BTreeMap::new(),
            links_made: 0,
            steps: 0,
            story: VecDeque::new(),
            _folder: folder,
        }
    }

    /// Lives through the seed's troubles, then lets everything arrive. Returns the steps taken.
    pub(crate) fn run(mut self) -> u64 {
        let troubled = self.rng.u32(100..500);
        for _ in 0..troubled {
            self.step();
            if self.faults.lost_early && self.centre.sunk(&self.edges[0].name) > 0 {
                self.faults.lost_early = false;
                let opening = self.edges[0].lose(&mut self.rng, self.now);
                self.reopened(0, "its buffer is lost early", &opening);
            }
        }
        self.tell(|| "nothing fails any more".to_owned());
        (self.weather.cut_once_in, self.weather.die_once_in) = (0, 0);
        self.commits_left = 0;
        self.edges.iter().for_each(|edge| edge.disk.mend());
        self.centre.disk.mend();
        if let Some(broker) = &mut self.centre.broker {
            broker.behave();
        }
        let until = self.now + TIME_TO_DRAIN;
        for _ in 0..STEPS_TO_DRAIN {
            assert!(self.now < until, "it takes longer than {TIME_TO_DRAIN:?} to drain");
            if self.is_drained() {
                let Self { edges, centre, .. } = &mut self;
                centre.sink_again(|agent| history(edges, agent));
                return self.steps;
            }
            self.quiet_step();
        }
        panic!("it never drains");
    }

    fn is_drained(&self) -> bool {
        self.edges.iter().all(|edge| {
            edge.has_read_all()
                && edge.pump.is_drained()
                && self.centre.sunk(&edge.name) == edge.history.changes.len()
        })
    }

    fn step(&mut self) {
        match self.rng.u32(0..10) {
            0 | 1 if self.commits_left > 0 => {
                self.commits_left -= 1;
                let edge = self.rng.usize(0..self.edges.len());
                for _ in 0..self.rng.u32(1..4) {
                    self.edges[edge].history.write(&mut self.rng);
                }
            }
            2 => self.trouble(),
            _ => return self.quiet_step(),
        }
        self.check();
    }

    /// A step in which nobody fails.
    fn quiet_step(&mut self) {
        let edge = self.rng.usize(0..self.edges.len());
        match self.rng.u32(0..4) {
            0 => {
                for _ in 0..self.rng.u32(1..8) {
                    if !self.edges[edge].read(&mut self.rng) {
                        break;
                    }
                }
                let filled = self.edges[edge].pump.fill(self.now);
                self.settle_edge(edge, filled);
                let restores = self.faults.backup_restored > 0;
                if restores && self.rng.u32(0..16) == 0 {
                    self.edges[edge].back_up();
                }
            }
            1 if self.centre.has_work() => self.take(),
            _ => self.advance(),
        }
        self.check();
    }

    /// The collector takes in some of what waits.
    fn take(&mut self) {
        let group = self.rng.usize(1..=16);
        for number in self.centre.take(group, &mut self.rng, self.now) {
            self.write_seat(number);
        }
    }

    /// Moves the clock to the next thing that happens, and lets it happen.
    fn advance(&mut self) {
        let links = self.links.values().filter_map(Link::next_arrival);
        let edges = self.edges.iter().filter_map(|edge| match edge.link {
            Some(_) => edge.pump.wake_at(),
            None => Some(edge.dial_at),
        });
        let seats = self.centre.seats.values();
        let seats = seats.filter(|seat| !seat.over).filter_map(Seat::wake_at);
        let Some(next) = links.chain(edges).chain(seats).min() else { return };
        if self.centre.has_work() && next > self.now + INTAKE_MAX {
            return self.take();
        }
        self.now = self.now.max(next);
        for index in 0..self.edges.len() {
            let edge = &mut self.edges[index];
            if edge.link.is_none() && edge.dial_at <= self.now {
                self.dial(index);
            } else if edge.link.is_some() && edge.pump.wake_at().is_some_and(|at| at <= self.now) {
                let handled = edge.pump.handle(Input::Tick, self.now);
                self.settle_edge(index, handled);
            }
        }
        let numbers: Vec<usize> = self.links.keys().copied().collect();
        for number in numbers {
            let due = |seat: &Seat| seat.wake_at().is_some_and(|at| at <= next);
            if self.centre.seats.get(&number).is_some_and(due) {
                self.turn_seat(number, Input::Tick);
            }
            let arrived = self.links.get_mut(&number).and_then(|link| link.arrive(self.now));
            match arrived {
                Some((End::Collector, Arrival::Bytes(bytes))) => {
                    self.turn_seat(number, Input::Bytes(&bytes));
                }
                Some((End::Collector, Arrival::Lost)) => self.turn_seat(number, Input::Lost),
                Some((End::Agent, arrival)) => self.hear(number, arrival),
                None => {}
            }
        }
        let (centre, edges) = (&mut self.centre, &self.edges);
        centre.seats.retain(|number, seat| {
            !seat.over || edges.iter().any(|edge| edge.link == Some(*number))
        });
        self.links.retain(|number, _| {
            centre.seats.contains_key(number) || edges.iter().any(|e| e.link == Some(*number))
        });
    }

    fn dial(&mut self, index: usize) {
        let number = self.links_made;
        self.links_made += 1;
        self.links.insert(number, Link::default());
        self.edges[index].link = Some(number);
        let name = self.edges[index].name.clone();
        self.centre.welcome(number, &name, &mut self.rng, self.now);
        self.tell(|| format!("edge-{index} dials: connection {number}"));
        let (edge, bytes) = (&mut self.edges[index], [0, 1, 500, 16_384][self.rng.usize(..4)]);
        let limits = edge.known.begin(0);
        edge.hasty = limits.is_some();
        let opened = edge.pump.handle(Input::Opened, self.now);
        let handled = opened.and_then(|()| edge.pump.hasten(limits, bytes, self.now));
        self.settle_edge(index, handled);
    }

    fn hear(&mut self, number: usize, arrival: Arrival) {
        let Some(index) = self.edges.iter().position(|edge| edge.link == Some(number)) else {
            return;
        };
        match arrival {
            Arrival::Bytes(bytes) => {
                let handled = self.edges[index].pump.handle(Input::Bytes(&bytes), self.now);
                self.settle_edge(index, handled);
            }
            Arrival::Lost => self.hang_up(index, "the link is lost"),
        }
    }

    /// What the agent's loop does between two inputs.
    fn settle_edge(&mut self, index: usize, handled: Result<(), PumpError>) {
        while let Some(notice) = self.edges[index].pump.notice() {
            self.judge(index, &notice);
            if let Notice::Online(limits) = &notice {
                self.edges[index].known.took_in(0, *limits);
            }
            self.tell(|| format!("edge-{index}: {notice:?}"));
        }
        while let Some(bytes) = self.edges[index].pump.poll() {
            let link = self.edges[index].link.and_then(|number| self.links.get_mut(&number));
            if let Some(link) = link {
                link.send(End::Collector, bytes.to_vec(), self.weather, &mut self.rng, self.now);
            }
        }
        if let Err(error) = handled {
            if let Some(link) = self.edges[index].link.and_then(|n| self.links.get_mut(&n)) {
                link.cut(self.weather, &mut self.rng, self.now);
            }
            self.hang_up(index, &error.to_string());
        }
    }

    /// A collector that answers within a second is not silent on a link that lives.
    fn judge(&self, index: usize, notice: &Notice) {
        let link = self.edges[index].link.and_then(|number| self.links.get(&number));
        let lives = self.centre.broker.is_none() && link.is_some_and(Link::lives);
        if let Notice::Rewound(why) = notice {
            assert!(!(lives && why.contains("silent")), "edge-{index} waited in vain: {why}");
        }
    }

    fn hang_up(&mut self, index: usize, why: &str) {
        self.tell(|| format!("edge-{index} hangs up: {why}"));
        let wait = Duration::from_millis(self.rng.u64(0..2000));
        let edge = &mut self.edges[index];
        if std::mem::take(&mut edge.hasty) {
            edge.known.ended(0, edge.pump.is_ready());
        }
        (edge.link, edge.dial_at) = (None, self.now + wait);
        let _ = edge.pump.handle(Input::Lost, self.now);
    }

    fn turn_seat(&mut self, number: usize, input: Input<'_>) {
        self.centre.turn(number, input, &mut self.rng, self.now);
        let all: Vec<usize> = self.centre.seats.keys().copied().collect();
        for number in all {
            self.write_seat(number);
        }
    }

    /// Writes what a desk has to say; closes the link behind its last word.
    fn write_seat(&mut self, number: usize) {
        let Some(seat) = self.centre.seats.get_mut(&number) else { return };
        let Some(link) = self.links.get_mut(&number) else { return };
        while let Some(bytes) = seat.poll() {
            link.send(End::Agent, bytes.to_vec(), self.weather, &mut self.rng, self.now);
        }
        if seat.over {
            self.centre.seats.remove(&number);
            link.close(End::Agent, self.weather, &mut self.rng, self.now);
        }
    }

    /// Perhaps something fails.
    fn trouble(&mut self) {
        let (faults, index) = (self.faults, self.rng.usize(0..self.edges.len()));
        let rng = &mut self.rng;
        let edge = &mut self.edges[index];
        if once_in(rng, faults.collector_killed / 10) {
            let power_cut = rng.u32(..3) == 0;
            self.centre.kill(power_cut, rng);
            if self.centre.broker.is_none() {
                self.cut_all();
            }
            return self.tell(|| format!("the collector is killed, power cut: {power_cut}"));
        }
        if self.centre.broker.is_some() && once_in(rng, faults.broker_crashed / 10) {
            self.centre.crash_broker(rng);
            self.cut_all();
            return self.tell(|| "the broker crashes".to_owned());
        }
        if once_in(rng, faults.disk_failed / 10) {
            let what = [Refused::Space, Refused::Write, Refused::Sync][rng.usize(..3)];
            let (edges, times) = (rng.bool(), rng.u32(1..6));
            edge.sound &= !edges;
            if edges {
                self.centre.expect_fork(&edge.name);
            }
            let disk = if edges { &edge.disk } else { &self.centre.disk };
            disk.refuse(what, times);
            return self
                .tell(|| format!("a disk refuses {what:?} {times} times, the edge's: {edges}"));
        }
        if once_in(rng, faults.rotten / 10) {
            let rotten = edge.rot(rng);
            self.centre.expect_fork(&edge.name);
            return self.tell(|| format!("edge-{index}: {rotten} rows rot"));
        }
        if once_in(rng, 4) {
            return edge.abandon();
        }
        // GTIDs that began anew, on a server that was never seen, tell nothing: the first that arrives must
        // come from the server that was reset.
        let told = match edge.history.beginning() {
            0 => true,
            anew => self.centre.sunk(&edge.name) > edge.history.changes_before(anew),
        };
        if edge.history.manner.gtids && told && once_in(rng, faults.failed_over / 10) {
            edge.abandon();
            edge.history.fail_over(rng);
            let read = edge.reading.checkpoint.clone();
            if !read.position.file.is_empty() {
                edge.reading = Reading::open(&edge.history, Some(read));
            }
            return self.tell(|| format!("edge-{index}: another server takes over"));
        }
        let delivered = edge.has_read_all()
            && edge.pump.is_drained()
            && self.centre.sunk(&edge.name) == edge.history.changes.len();
        let (what, opening) = if delivered && once_in(rng, faults.history_reset / 10) {
            edge.history.reset();
            ("its server's history begins anew", edge.lose(rng, self.now))
        } else if once_in(rng, faults.agent_killed / 10) {
            (KILLED, edge.kill(rng, self.now))
        } else if once_in(rng, faults.power_cut / 10) {
            ("its power is cut", edge.cut_power(rng, self.now))
        } else if once_in(rng, faults.backup_restored / 10) {
            ("an older buffer is put in place", edge.restore(rng, self.now))
        } else if once_in(rng, faults.buffer_lost / 10) {
            ("its buffer is lost", edge.lose(rng, self.now))
        } else {
            return;
        };
        self.reopened(index, what, &opening);
    }

    /// An agent is there again with what is left of its buffer.
    fn reopened(&mut self, index: usize, what: &str, opening: &Opening) {
        if what != KILLED {
            self.centre.expect_fork(&self.edges[index].name);
        }
        // Its connections end: the collector hears of it, or only its own clock tells.
        for (number, link) in &mut self.links {
            let seat = self.centre.seats.get(number);
            if seat.is_some_and(|seat| seat.agent == self.edges[index].name) {
                match self.rng.bool() {
                    true => link.cut(self.weather, &mut self.rng, self.now),
                    false => link.die(),
                }
            }
        }
        self.tell(|| format!("edge-{index}: {what}: {opening:?}"));
    }

    fn cut_all(&mut self) {
        for link in self.links.values_mut() {
            link.cut(self.weather, &mut self.rng, self.now);
        }
    }

    fn check(&mut self) {
        self.steps += 1;
        let Self { edges, centre, .. } = self;
        centre.sink(|agent| history(edges, agent));
        for edge in &mut self.edges {
            edge.check(self.centre.sunk(&edge.name), self.steps.is_multiple_of(24));
        }
        for index in 0..self.edges.len() {
            for note in std::mem::take(&mut self.edges[index].notes) {
                self.tell(|| format!("edge-{index}: {note}"));
            }
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.story.len() == STORY_MAX {
            self.story.pop_front();
        }
        let at = self.now.duration_since(self.began).as_secs_f64();
        self.story.push_back(format!("{:>6} {at:>9.3} s  {}", self.steps, what()));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.edges.iter().for_each(|edge| edge.disk.unmount());
        self.centre.disk.unmount();
        if std::thread::panicking() {
            eprintln!("seed {} failed; its last steps:", self.seed);
            self.story.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("{:?} {:?}\nagain: SEED={} make sim", self.weather, self.faults, self.seed);
        }
    }
}

fn history<'h>(edges: &'h [Edge], agent: &str) -> &'h History {
    let edge = edges.iter().find(|edge| edge.name == agent);
    &edge.expect("the log has batches of agents that exist").history
}

/// In memory if possible: a fault here is never the disk's.
fn folder() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()),
        false => tempfile::tempdir(),
    }
    .expect("a folder can be made")
}
