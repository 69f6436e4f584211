//! What came of each case when it was last looked at by a person: `expected.txt`, a line for each case
//! and server.
//!
//! ```text
//! mysql dml_multi 5f0c… m.a +3 ~2 -1, m.b +1 ~0 -0     a hash of all changes, and how many
//! mysql stmt_format refused QUERY: …                   the error, without its place
//! ```
//!
//! The hash is of each change's operation, table and values as they are printed; not of positions,
//! times, GTIDs and threads, which no two runs share. `BLESS=1` writes the lines anew, and then they have
//! to be looked at: only what the server's own decoder and SELECT confirm gets a line at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::harness::replay::Change;
use crate::harness::server::Flavour;

/// Flavour and case.
type Key = (String, String);

/// The lines of `expected.txt`.
pub struct Records(BTreeMap<Key, String>);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential/expected.txt")
}

impl Records {
    /// Those of the file; panics if a line is none.
    pub fn read() -> Self {
        let text = fs::read_to_string(path()).unwrap_or_default();
        let record = |line: &str| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let parts = (words.next(), words.next(), words.next());
            let (Some(flavour), Some(case), Some(said)) = parts else {
                panic!("expected.txt: not a line: {line}");
            };
            ((flavour, case), said)
        };
        Self(text.lines().map(record).collect())
    }

    /// Whether the case came out as it did before.
    pub fn compare(&self, flavour: Flavour, case: &str, said: &str) -> Result<(), String> {
        match self.0.get(&(flavour.to_string(), case.to_owned())) {
            Some(known) if known == said => Ok(()),
            Some(known) => Err(format!("not as recorded: {said}, recorded: {known}")),
            None => Err(format!("not recorded (BLESS=1 does it): {said}")),
        }
    }

    /// How many lines a flavour has.
    pub fn count(&self, flavour: Flavour) -> usize {
        self.0.keys().filter(|(known, _)| known == flavour.name()).count()
    }

    pub fn set(&mut self, flavour: Flavour, case: &str, said: &str) {
        self.0.insert((flavour.to_string(), case.to_owned()), said.to_owned());
    }

    pub fn write(&self) {
        let line = |((flavour, case), said): (&Key, &String)| format!("{flavour} {case} {said}\n");
        let text: String = self.0.iter().map(line).collect();
        fs::write(path(), text).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    }
}

/// A case that was decoded: its lines, as Debezium's JSON.
pub fn of_lines(lines: &str, changes: &[Change]) -> String {
    // FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for (line, change) in lines.lines().zip(changes) {
        let table = format!("{}.{}", change.schema, change.table);
        // No value has these bytes: its quotes have backslashes before them.
        let images = line.split(",\"source\":{\"version\":").next().unwrap_or_default();
        for part in [&change.operation, &table, images] {
            add(part.as_bytes());
            add(b"\n");
        }
        let index = ["c", "u", "d"].iter().position(|it| *it == change.operation).unwrap_or(0);
        counts.entry(table).or_default()[index] += 1;
    }
    let told = counts.iter().map(|(table, [c, u, d])| format!("{table} +{c} ~{u} -{d}"));
    let told = told.collect::<Vec<_>>().join(", ");
    format!("{hash:016x} {}", if told.is_empty() { "no rows" } else { &told })
}

/// A case that was refused: the error without file and offset.
pub fn of_error(said: &str) -> String {
    let place = said.strip_prefix("rivulet: ").and_then(|rest| rest.split_once(": "));
    let what = place.map_or(said, |(_, what)| what).lines().next().unwrap_or_default();
    // Further offsets stand behind an `@`, a `+` or a `:` and are the server's business.
    let mut told = String::new();
    for c in what.chars() {
        let place = c.is_ascii_digit() && told.ends_with(['@', '+']);
        if !place {
            told.push(c);
        }
    }
    format!("refused {told}")
}
