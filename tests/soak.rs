//! Nothing grows: a server under a steady load, an agent and a collector with a link between them that comes and
//! goes, for as long as one likes. Every line is held against the one before, and in the end all against the table.
//!
//! | variable | what |
//! |---|---|
//! | `MINUTES=n` | how long, 2 by default; before that, some troubles that every process has to meet once |
//! | `SEED=n` | the load and the troubles |
//! | `RIVULET_PROGRAM` | another program of the edge than the one beside this: `make soak` takes the static one |

#![allow(unreachable_pub)]

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::follow::Follower;
use harness::pipeline::Pipeline;
use harness::process::Process;
use harness::relay::{TcpRelay, UdpRelay, Weather};
use harness::server::{Flavour, Server};
use harness::steady::Steady;
use serde_json::Value;

/// Row changes a second.
const RATE: u64 = 2000;
/// Before anything is compared: a link that was lost and made again, one that loses much.
const WARM_UP: Duration = Duration::from_secs(18);
/// Between two looks at everything.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How much the agent's memory may differ between the first sixth of the time and the last, in KiB, and the
/// collector's, whose allocator keeps more.
const KIB_MAX: [u64; 2] = [512, 4096];
/// In less than so many minutes, memory has not been everywhere yet: four times as much.
const SHORT_MIN: u64 = 15;
/// A look may meet a file that is open for a moment.
const DESCRIPTORS_MAX: usize = 2;

#[test]
fn nothing_grows_and_nothing_is_lost_under_a_steady_load() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number"))
        })
    };
    let minutes = number("MINUTES", 2);
    let time = Duration::from_secs(60 * minutes);
    let seed = number("SEED", fastrand::u64(..1_000_000));
    println!("SEED={seed} MINUTES={minutes}");
    let server = Server::start(Flavour::Mariadb1011, &["--max-binlog-size=16M"]);
    let source = TcpRelay::start(server.port);
    let (mut pipeline, link) = Pipeline::through(&server, &source, seed);
    let mut load = Steady::new(&server, seed);
    pipeline.start_collector();
    pipeline.start_agent();

    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let load = thread::spawn(move || {
        load.run(RATE, &until);
        load
    });
    let mut watch = Watch::new(&pipeline);
    let mut sky = Sky::new(link, seed);
    let start = Instant::now();
    let mut told = start;
    while start.elapsed() < WARM_UP + time {
        sky.turn(start.elapsed());
        watch.look(&mut pipeline);
        if let Some(at) = start.elapsed().checked_sub(WARM_UP) {
            watch.sample(&mut pipeline, at);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                println!("{} min: {}", at.as_secs() / 60, watch.told());
            }
        }
        sleep(LOOK);
    }
    sky.clear();
    stop.store(true, Ordering::Relaxed);
    let load = load.join().expect("the load ends when it is told to");
    let patience = Instant::now() + Duration::from_secs(120);
    while watch.ledger.lines < load.changes {
        let lines = watch.ledger.lines;
        assert!(Instant::now() < patience, "{lines} of {}\n{}", load.changes, pipeline.said());
        watch.look(&mut pipeline);
        sleep(LOOK);
    }
    // Nothing may come behind the last one, either.
    sleep(Duration::from_secs(1));
    watch.look(&mut pipeline);
    let rows = watch.ledger.compare(&server);
    println!(
        "{} transactions, {} changes, {:.0} a second: as many lines, none twice; {rows} rows as by SELECT; {}",
        load.transactions,
        load.changes,
        load.changes as f64 / (WARM_UP + time).as_secs_f64(),
        sky.told()
    );
    assert_eq!(watch.ledger.lines, load.changes, "a line for each change");
    for (end, name) in ["agent", "collector"].into_iter().enumerate() {
        let sixths = watch.sixths(end, time);
        println!("{name}: {}", sixths.each_ref().map(ToString::to_string).join("; "));
        let patient = if minutes < SHORT_MIN { 4 } else { 1 };
        check(&sixths, patient * KIB_MAX[end]);
    }
    let patience = Duration::from_secs(10);
    assert!(pipeline.agent().terminate(patience).success(), "{}", pipeline.said());
    assert!(pipeline.collector().terminate(patience).success(), "{}", pipeline.said());
}

/// The link's troubles, one after the other with fair weather between them.
struct Sky {
    link: UdpRelay,
    random: fastrand::Rng,
    /// When the next change of the weather is due.
    due: Duration,
    fair: bool,
    cuts: u32,
    storms: u32,
}

impl Sky {
    fn new(link: UdpRelay, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { link, random, due: Duration::from_secs(3), fair: true, cuts: 0, storms: 0 }
    }

    fn turn(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        self.fair = !self.fair;
        let (weather, millis) = if self.fair {
            // The warm-up's first two troubles are close to each other.
            let pause =
                if self.cuts + self.storms < 2 { 2000 } else { self.random.u64(6000..15_000) };
            (Weather::default(), pause)
        } else if self.cuts == self.storms {
            self.cuts += 1;
            // Longer than the idle timeout: the link is lost and made again; or shorter, so that it lives.
            let lost = self.cuts == 1 || self.random.bool();
            let millis = self.random.u64(if lost { 5000..6000 } else { 500..3000 });
            (Weather { cut: true, ..Weather::default() }, millis)
        } else {
            self.storms += 1;
            let (loss, twice) = (self.random.u16(20..150), self.random.u16(..50));
            let delay_max = Duration::from_millis(self.random.u64(..40));
            (Weather { loss, twice, delay_max, cut: false }, self.random.u64(2000..4000))
        };
        self.link.weather(weather);
        self.due = now + Duration::from_millis(millis);
    }

    fn clear(&self) {
        self.link.weather(Weather::default());
    }

    fn told(&self) -> String {
        format!("the link was cut {} times and bad {} times", self.cuts, self.storms)
    }
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: u64,
    highest_kib: u64,
    descriptors: usize,
}

impl Sample {
    fn of(process: &Process) -> Option<Self> {
        let (rss_kib, highest_kib) = process.memory_kib()?;
        Some(Self { rss_kib, highest_kib, descriptors: process.descriptors()? })
    }
}

/// Follows lines and processes.
struct Watch {
    follower: Follower,
    ledger: Ledger,
    /// When, and agent's and collector's.
    samples: Vec<(Duration, [Sample; 2])>,
}

impl Watch {
    fn new(pipeline: &Pipeline) -> Self {
        let follower = Follower::new(pipeline.path("changes"));
        Self { follower, ledger: Ledger::default(), samples: Vec::new() }
    }

    fn look(&mut self, pipeline: &mut Pipeline) {
        pipeline.agent().must_run();
        pipeline.collector().must_run();
        let ledger = &mut self.ledger;
        self.follower.each(|line| {
            ledger.take(line).unwrap_or_else(|what| panic!("{what}: {line}\n{}", pipeline.said()));
        });
    }

    fn sample(&mut self, pipeline: &mut Pipeline, at: Duration) {
        let agent = Sample::of(pipeline.agent());
        let both = agent.zip(Sample::of(pipeline.collector()));
        let (agent, collector) = both.expect("both run");
        self.samples.push((at, [agent, collector]));
    }

    /// How it stands.
    fn told(&self) -> String {
        let [agent, collector] = self.samples.last().expect("there is one").1;
        let lines = self.ledger.lines;
        format!(
            "{lines} lines; agent {} KiB (highest {}), collector {} KiB (highest {})",
            agent.rss_kib, agent.highest_kib, collector.rss_kib, collector.highest_kib
        )
    }

    /// What an end had in each sixth of the time.
    fn sixths(&self, end: usize, time: Duration) -> [Window; 6] {
        [0, 1, 2, 3, 4, 5].map(|sixth| {
            let part = time * sixth / 6..time * (sixth + 1) / 6;
            let within = self.samples.iter().filter(|(at, _)| part.contains(at));
            Window::of(within.map(|(_, both)| both[end]).collect())
        })
    }
}

/// Of a part of the time.
#[derive(Debug)]
struct Window {
    /// The median.
    rss_kib: u64,
    highest_kib: u64,
    descriptors_max: usize,
}

impl Window {
    fn of(mut samples: Vec<Sample>) -> Self {
        samples.sort_unstable_by_key(|sample| sample.rss_kib);
        Self {
            rss_kib: samples[samples.len() / 2].rss_kib,
            highest_kib: samples.iter().map(|it| it.highest_kib).max().expect("not empty"),
            descriptors_max: samples.iter().map(|it| it.descriptors).max().expect("not empty"),
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rss_kib, highest_kib, descriptors_max } = self;
        write!(f, "{rss_kib} KiB (highest {highest_kib}), {descriptors_max} files")
    }
}

/// The first against the last.
fn check([first, .., last]: &[Window; 6], kib_max: u64) {
    assert!(last.highest_kib <= first.highest_kib + kib_max, "VmHWM grows");
    assert!(last.rss_kib <= first.rss_kib + kib_max, "VmRSS grows");
    assert!(last.descriptors_max <= first.descriptors_max + DESCRIPTORS_MAX, "descriptors grow");
}

/// The table as the lines so far make it.
#[derive(Default)]
struct Ledger {
    lines: u64,
    /// File, offset and row of the last line.
    last: (String, u64, u64),
    /// By id, what each row is.
    rows: BTreeMap<u64, Row>,
}

/// Version, sensor, note.
type Row = (u64, i64, Option<String>);

impl Ledger {
    /// The next line: behind the last one, and of a row that is as the line says it was.
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let line: Value = serde_json::from_str(line).map_err(|_| "no JSON")?;
        let source = &line["source"];
        let number = |name: &str| source[name].as_u64().ok_or("no place");
        let file = source["file"].as_str().ok_or("no place")?.to_owned();
        let place = (file, number("pos")?, number("row")?);
        if place <= self.last {
            return Err("twice, or not in order");
        }
        self.last = place;
        self.lines += 1;
        if let Some((id, row)) = image(&line["before"])? {
            match self.rows.remove(&id) {
                Some(known) if known == row => {}
                Some(_) => return Err("the row was another before"),
                None => return Err("the row was not there before"),
            }
        }
        if let Some((id, row)) = image(&line["after"])?
            && self.rows.insert(id, row).is_some()
        {
            return Err("the row was there already");
        }
        Ok(())
    }

    /// Against the server's table; how many rows it has.
    fn compare(&self, server: &Server) -> usize {
        let rows = server.sql(
            "select id, version, sensor, ifnull(note, '(null)') from steady.rows_ order by id",
        );
        let mine = self.rows.iter().map(|(id, (version, sensor, note))| {
            let note = note.as_deref().unwrap_or("(null)");
            vec![id.to_string(), version.to_string(), sensor.to_string(), note.to_owned()]
        });
        assert!(mine.eq(rows.iter().cloned()), "the lines make another table than SELECT shows");
        rows.len()
    }
}

fn image(image: &Value) -> Result<Option<(u64, Row)>, &'static str> {
    if image.is_null() {
        return Ok(None);
    }
    let id = image["id"].as_u64().ok_or("no id")?;
    let version = image["version"].as_u64().ok_or("no version")?;
    let sensor = image["sensor"].as_i64().ok_or("no sensor")?;
    Ok(Some((id, (version, sensor, image["note"].as_str().map(str::to_owned)))))
}
