//! The decoder against the servers' own: every case of `tests/cases/` runs on a real server, whose
//! binlogs `rivulet decode` must then read as the server's decoder and SELECT do, or refuse with a
//! clear error.
//!
//! ```text
//!   case ──► server ──binlog──► rivulet decode ──lines──┐
//!              │ │                                      ├─ equal, row by row, value by value
//!              │ └──► mysqlbinlog -vv ──────────────────┤
//!              └──► SELECT ─────────────────────────────┘ equal, in the end
//! ```

#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

mod expected;
mod generated;
mod record;
mod reference;
mod scan;
mod script;
mod special;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

use expected::Expected;
use harness::server::{Flavour, Server};
use record::Records;
use script::Script;
use verdict::Told;

#[test]
fn every_case_is_read_right_or_refused_clearly() {
    let flavours = Flavour::chosen();
    let results = thread::scope(|scope| {
        let run = |flavour: &Flavour| (*flavour, *flavour);
        let threads: Vec<_> = flavours
            .iter()
            .map(run)
            .map(|(flavour, it)| (flavour, scope.spawn(move || examine(it))))
            .collect();
        let join = |(flavour, thread): (Flavour, thread::ScopedJoinHandle<'_, Vec<Outcome>>)| {
            (flavour, thread.join().unwrap_or_else(|_| panic!("{flavour}: no exam took place")))
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let names: Vec<_> = flavours.iter().map(|flavour| flavour.name()).collect();
    println!("servers: {}", names.join(" "));
    let all = std::env::var_os("CASES").is_none();
    let mut records = Records::read();
    let mut wrong = 0;
    for (flavour, outcomes) in &results {
        let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|it| wanted(it)).count();
        let right = count(|it| it.right() && !matches!(it.expected, Expected::Refused(_)));
        let refused = count(|it| it.right() && matches!(it.expected, Expected::Refused(_)));
        println!("{flavour}: {right} right, {refused} refused with the right error");
        for outcome in outcomes {
            println!("  {flavour} {outcome}");
        }
        wrong += outcomes.len() - right - refused;
        wrong += recorded(&mut records, *flavour, outcomes);
        if all && records.count(*flavour) != outcomes.len() {
            println!("{flavour}: {} cases are recorded", records.count(*flavour));
            wrong += 1;
        }
    }
    if std::env::var_os("BLESS").is_some() {
        records.write();
    }
    assert_eq!(wrong, 0, "see above");
}

#[test]
fn a_cut_or_damaged_log_gives_what_was_committed_before() {
    Flavour::chosen().into_iter().for_each(special::cuts);
}

#[test]
fn a_log_that_a_crash_tore_gives_what_was_committed() {
    Flavour::chosen().into_iter().for_each(special::crash);
}

/// What the server sends of it is plain, and followed by the test `live`.
#[test]
fn an_encrypted_log_is_refused_as_that() {
    Flavour::chosen().into_iter().for_each(special::encrypted);
}

/// How many cases did not come out as recorded; with `BLESS` all that are right are recorded anew.
fn recorded(records: &mut Records, flavour: Flavour, outcomes: &[Outcome]) -> usize {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = 0;
    for outcome in outcomes {
        let Ok(told) = &outcome.result else { continue };
        if bless {
            records.set(flavour, &outcome.case, &told.record);
        } else if let Err(what) = records.compare(flavour, &outcome.case, &told.record) {
            println!("  {flavour} {}: {what}", outcome.case);
            wrong += 1;
        }
    }
    wrong
}

/// What came of one case.
struct Outcome {
    case: String,
    expected: Expected,
    result: Result<Told, String>,
}

impl Outcome {
    fn right(&self) -> bool {
        self.result.is_ok()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.result {
            Ok(told) => write!(f, "{}: {}", self.case, told.said),
            Err(said) => write!(f, "{}: WRONG ({:?}): {said}", self.case, self.expected),
        }
    }
}

/// All cases of one flavour, or those that `CASES` names.
fn examine(flavour: Flavour) -> Vec<Outcome> {
    let chosen = std::env::var("CASES").ok();
    let chosen = |name: &str| {
        chosen.as_deref().is_none_or(|names| names.split_whitespace().any(|it| it == name))
    };
    let server = Server::start(flavour, &[]);
    let scripts = script::all(flavour);
    scripts.iter().filter(|it| chosen(&it.name)).map(|it| case(&server, it)).collect()
}

fn case(server: &Server, script: &Script) -> Outcome {
    let (start, expected) = (Instant::now(), expected::of(server.flavour, &script.name));
    let result = catch_unwind(AssertUnwindSafe(|| {
        prepare(server, script);
        script.run(server);
        verdict::of(server, script, expected)
    }));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    });
    println!("{}: {}: {:.1} s", server.flavour, script.name, start.elapsed().as_secs_f32());
    Outcome { case: script.name.clone(), expected, result }
}

/// An empty server whose first binlog begins.
fn prepare(server: &Server, script: &Script) {
    server.sql("set sql_log_bin=0");
    server.sql("set foreign_key_checks=0");
    let system = ["mysql", "information_schema", "performance_schema", "sys"];
    for row in server.sql("show databases") {
        if !system.contains(&row[0].as_str()) {
            server.sql(&format!("drop database {}", harness::tables::backquoted(&row[0])));
        }
    }
    let default = if server.flavour.is_mysql() { "MINIMAL" } else { "NO_LOG" };
    let metadata = if script.metadata_full { "FULL" } else { default };
    server.sql(&format!("set global binlog_row_metadata={metadata}"));
    // What a case wrote there for LOAD DATA.
    let _ = std::fs::remove_file(server.folder().join("data.csv"));
    server.reset_logs();
}
