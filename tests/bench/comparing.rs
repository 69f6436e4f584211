//! SHELL: our decoder beside others on the same logs, each as a process of its own.
//!
//! Every decoder reads a log of a real server from its file, on one thread, and makes and touches every value.
//! A decoder's figures count only if it found every row, and if in the log's first part all of its values are
//! ours. CPU time is the kernel's for the whole process, the median of five runs that take turns; instructions are callgrind's
//! for the log's first part.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::centre::built;
use super::log::{Item, each};
use super::server::Flavour;
use super::workload::Workload;

/// The crates in `tests/peers`.
const CRATES: [&str; 3] = ["mysql-binlog-connector-rust", "mysql_common", "mysql_cdc"];

/// The log's first part, in which values are compared and instructions counted, ends with the transaction
/// that reaches this many bytes.
const SAMPLE_BYTES: u64 = 2_000_000;

const RUNS: usize = 5;

/// What is run, and how.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Decoder {
    Ours,
    OursSplitting,
    Crate(&'static str),
    /// The server's own.
    Tool(Flavour),
}

/// What came of it.
enum Outcome {
    Read(Cost),
    Failed(String),
}

struct Cost {
    /// CPU seconds.
    seconds: f64,
    memory_kib: f64,
    /// For each row; `None` where callgrind cannot run it.
    instructions: Option<f64>,
}

/// Prints a table for each log and one JSON object of all. `logged` makes the logs.
pub(crate) fn run(folder: &Path, logged: impl Fn(Flavour, Workload, bool) -> PathBuf) {
    let loads = [
        (Workload::Shop, false),
        (Workload::Readings, false),
        (Workload::Machines, false),
        (Workload::Shop, true),
    ];
    let mut all = serde_json::Map::new();
    for flavour in [Flavour::Mariadb, Flavour::Mysql] {
        for (load, packed) in loads {
            let log = logged(flavour, load, packed);
            let packing = if packed { ", compressed" } else { "" };
            let title = format!("{}{packing}, {}", load.name(), flavour.title());
            eprintln!("comparing: {title}");
            let (text, figures) = compare(folder, flavour, &log, &title);
            println!("{text}");
            all.insert(title, figures);
        }
    }
    println!("{}", serde_json::Value::Object(all));
}

fn compare(
    folder: &Path,
    flavour: Flavour,
    log: &Path,
    title: &str,
) -> (String, serde_json::Value) {
    let bytes = fs::metadata(log).expect("it was made").len() as f64;
    let sample = folder.join("sample");
    let known = rows(Decoder::Ours, log).and_then(|rows| {
        cut(log, &sample)?;
        let (of_sample, values) = (rows_of(Decoder::Ours, &sample)?, folder.join("values"));
        write_values(Decoder::Ours, &sample, false, &values)?;
        write_values(Decoder::Ours, &sample, true, &values.with_extension("millis"))?;
        Ok(Known { rows, rows_of_sample: of_sample, sample, values })
    });
    let decoders = [Decoder::Ours, Decoder::OursSplitting];
    let decoders = decoders.into_iter().chain(CRATES.map(Decoder::Crate));
    let mut entrants: Vec<_> = decoders
        .chain([Decoder::Tool(flavour)])
        .map(|decoder| {
            eprintln!("  {}", decoder.title());
            let admitted = match &known {
                Ok(known) => known.admit(decoder, log),
                Err(error) if decoder.is_ours() => Err(error.clone()),
                Err(_) => Err("not measured: nothing to compare its values with".to_owned()),
            };
            (decoder, admitted)
        })
        .collect();
    // In turns, so that what else the machine does falls on all alike.
    for _ in 0..RUNS {
        for (decoder, entrant) in &mut entrants {
            if let Ok(runs) = entrant {
                match measure(*decoder, log) {
                    Ok(run) => runs.costs.push(run),
                    Err(why) => *entrant = Err(why),
                }
            }
        }
    }
    let outcome = |entrant: Result<Runs, String>| {
        entrant.map_or_else(Outcome::Failed, |runs| Outcome::Read(runs.median()))
    };
    let outcomes: Vec<_> =
        entrants.into_iter().map(|(decoder, entrant)| (decoder, outcome(entrant))).collect();
    let rows = known.map_or(0, |known| known.rows);
    let ours = outcomes.first().and_then(|(_, outcome)| outcome.seconds());
    let mut text = format!("**{title}**: {:.1} MB, {rows} rows\n\n", bytes / 1e6);
    text.push_str(
        "| decoder | rows per CPU second | ours is faster by | MB/s | peak memory, MiB | instructions per row |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let mut figures = serde_json::Map::new();
    for (decoder, outcome) in &outcomes {
        let name = decoder.title();
        match outcome {
            Outcome::Failed(why) => {
                let _ = writeln!(text, "| {name} | {why} |||||");
                figures.insert(name, why.as_str().into());
            }
            Outcome::Read(cost) => {
                let per_second = rows as f64 / cost.seconds;
                let ratio = ours.map_or(f64::NAN, |ours| cost.seconds / ours);
                let instructions =
                    cost.instructions.map_or("–".to_owned(), |n| format!("{n:.0}"));
                let (mb, mib) = (bytes / 1e6 / cost.seconds, cost.memory_kib / 1024.0);
                let _ = writeln!(
                    text,
                    "| {name} | {per_second:.0} | {ratio:.1} × | {mb:.0} | {mib:.1} | {instructions} |"
                );
                let one = serde_json::json!({
                    "rows_per_cpu_s": per_second, "slower_than_ours": ratio, "mb_per_cpu_s": mb,
                    "peak_mib": mib, "instructions_per_row": cost.instructions,
                });
                figures.insert(name, one);
            }
        }
    }
    (text, figures.into())
}

impl Outcome {
    fn seconds(&self) -> Option<f64> {
        match self {
            Self::Read(cost) => Some(cost.seconds),
            Self::Failed(_) => None,
        }
    }
}

/// What our decoder says of a log, by which the others are judged.
struct Known {
    rows: u64,
    rows_of_sample: u64,
    sample: PathBuf,
    values: PathBuf,
}

impl Known {
    /// Whether it finds every row, and the values that are ours; how many instructions it takes.
    fn admit(&self, decoder: Decoder, log: &Path) -> Result<Runs, String> {
        let found = rows(decoder, log)?;
        if found != self.rows {
            return Err(format!("cannot read: {found} of {} rows, without an error", self.rows));
        }
        self.compare_values(decoder)?;
        let instructions = instructions(decoder, &self.sample)?;
        let instructions = instructions.map(|all| all as f64 / self.rows_of_sample as f64);
        Ok(Runs { instructions, costs: Vec::new() })
    }

    fn compare_values(&self, decoder: Decoder) -> Result<(), String> {
        let Decoder::Crate(name) = decoder else { return Ok(()) };
        let millis = name == "mysql_cdc";
        let theirs = self.values.with_extension("theirs");
        write_values(decoder, &self.sample, millis, &theirs)?;
        let ours = if millis { self.values.with_extension("millis") } else { self.values.clone() };
        let [ours, theirs] = [&ours, &theirs].map(|path| lines(path));
        for (number, (our, their)) in ours.zip(theirs).enumerate() {
            if our != their {
                let [our, their] =
                    [our, their].map(|line| String::from_utf8_lossy(&line).into_owned());
                let cells = our.split('|').zip(their.split('|')).find(|(our, their)| our != their);
                let (our, their) = cells.unwrap_or((&our, &their));
                return Err(format!("other values: image {number}: {their:?}, ours is {our:?}"));
            }
        }
        Ok(())
    }
}

/// What a decoder took, each time.
struct Runs {
    instructions: Option<f64>,
    costs: Vec<Cost>,
}

impl Runs {
    fn median(mut self) -> Cost {
        self.costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let memory_kib = self.costs.iter().map(|run| run.memory_kib).fold(0.0, f64::max);
        let seconds = self.costs[self.costs.len() / 2].seconds;
        Cost { seconds, memory_kib, instructions: self.instructions }
    }
}

impl Decoder {
    fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursSplitting)
    }

    /// For people.
    fn title(self) -> String {
        match self {
            Self::Ours => "**rivulet**".to_owned(),
            Self::OursSplitting => "rivulet, splitting only".to_owned(),
            Self::Crate(name) => format!("{name} {}", version(name)),
            Self::Tool(Flavour::Mariadb) => "mariadb-binlog -v".to_owned(),
            Self::Tool(Flavour::Mysql) => "mysqlbinlog -v".to_owned(),
        }
    }

    /// The command that reads a log and prints the number of its rows (the servers' tools: the rows).
    fn command(self, log: &Path) -> Vec<String> {
        let mut words = match self {
            Self::Ours => vec![text(&scan()), "count".to_owned()],
            Self::OursSplitting => vec![text(&scan()), "split".to_owned()],
            Self::Crate(name) => vec![text(&peers()), "count".to_owned(), name.to_owned()],
            Self::Tool(flavour) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
                ["binlog", flavour.name(), "-v"].into_iter().fold(
                    vec![text(&script)],
                    |mut all, word| {
                        all.push(word.to_owned());
                        all
                    },
                )
            }
        };
        words.push(text(log));
        words
    }
}

/// The number of rows that a decoder finds.
fn rows(decoder: Decoder, log: &Path) -> Result<u64, String> {
    let Decoder::Tool(_) = decoder else { return rows_of(decoder, log) };
    let mut command = command(&decoder.command(log));
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).split(b'\n');
    let starts = ["### INSERT INTO ", "### UPDATE ", "### DELETE FROM "].map(str::as_bytes);
    let mut rows = 0;
    while let Some(line) = lines.next().transpose().expect("a pipe can be read") {
        rows += u64::from(starts.iter().any(|start| line.starts_with(start)));
    }
    let output = child.wait_with_output().expect("it ends");
    if output.status.success() { Ok(rows) } else { Err(cannot_read(&output.stderr)) }
}

fn rows_of(decoder: Decoder, log: &Path) -> Result<u64, String> {
    let output = command(&decoder.command(log)).output().expect("`make bench` builds it");
    if !output.status.success() {
        return Err(cannot_read(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("cannot read: it printed {text:?}"))
}

fn write_values(decoder: Decoder, log: &Path, millis: bool, to: &Path) -> Result<(), String> {
    let mut words = decoder.command(log);
    words[1] = "values".to_owned();
    words.extend(millis.then(|| "--millis".to_owned()));
    let file = fs::File::create(to).expect("target/ can be written");
    let output = command(&words).stdout(file).stderr(Stdio::piped()).output().expect("it is built");
    if output.status.success() { Ok(()) } else { Err(cannot_read(&output.stderr)) }
}

/// One run: CPU seconds and peak memory.
fn measure(decoder: Decoder, log: &Path) -> Result<Cost, String> {
    let output = Command::new(peers()).arg("measure").args(decoder.command(log)).output();
    let output = output.expect("`make bench` builds it");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some([seconds, memory_kib, 0.0]) => {
            Ok(Cost { seconds: *seconds, memory_kib: *memory_kib, instructions: None })
        }
        _ => Err(cannot_read(&output.stderr)),
    }
}

/// All instructions of a run. The servers' tools run on a C library of their own, in which callgrind is lost.
fn instructions(decoder: Decoder, log: &Path) -> Result<Option<u64>, String> {
    if matches!(decoder, Decoder::Tool(_)) {
        return Ok(None);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/count.sh");
    let output = Command::new(script).arg("instructions").args(decoder.command(log)).output();
    let output = output.expect("it is there");
    let text = String::from_utf8_lossy(&output.stdout);
    let counted = text.trim().parse().ok().filter(|_| output.status.success());
    counted.map(Some).ok_or_else(|| cannot_read(&output.stderr))
}

/// Copies whole transactions from the log's start.
fn cut(log: &Path, sample: &Path) -> Result<(), String> {
    let file = || fs::File::open(log).expect("it was made");
    let mut end = None;
    each(file(), |item| {
        if let Item::Commit(offset) = item
            && end.is_none_or(|end| end < SAMPLE_BYTES)
        {
            end = Some(offset);
        }
    })
    .map_err(|error| error.to_string())?;
    let mut part = Vec::new();
    file().take(end.unwrap_or(0)).read_to_end(&mut part).map_err(|error| error.to_string())?;
    let written = fs::File::create(sample).and_then(|mut file| file.write_all(&part));
    written.map_err(|error| error.to_string())
}

fn cannot_read(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    // A panic says in its first line where it was, in its second why.
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.contains("panicked at"));
    let line: String = line.unwrap_or("no error, no rows").chars().take(160).collect();
    format!("cannot read: {}", line.replace('|', "/"))
}

/// The version of a crate in the peers' lock file.
fn version(name: &str) -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/Cargo.lock");
    let lock = fs::read_to_string(lock).expect("the lock file is committed");
    let versions =
        lock.split("[[package]]").filter(|part| part.contains(&format!("name = \"{name}\"\n")));
    let versions = versions.filter_map(|part| part.split("version = \"").nth(1)?.split('"').next());
    // Another peer may bring an older one along.
    versions.last().unwrap_or_default().to_owned()
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

fn lines(path: &Path) -> impl Iterator<Item = Vec<u8>> + use<> {
    let file = fs::File::open(path).expect("it was written");
    BufReader::new(file).split(b'\n').map(|line| line.expect("it can be read"))
}

fn scan() -> PathBuf {
    built("examples/scan")
}

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/release/peers")
}

fn text(path: &Path) -> String {
    path.to_str().expect("the path is text").to_owned()
}
