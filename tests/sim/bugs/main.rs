//! SHELL: makes each of the deliberate bugs in a copy of the sources, and lets the simulation look for it.
//!
//! | variable | what |
//! |---|---|
//! | `SEEDS=n` | so many seeds for each |
//! | `BUG=n` | this one alone, from 1 |
//!
//! The copy is built in the project's own target folder, so that only this crate is built again.

mod list;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use list::{BUGS, Bug};

/// The rarest of them is found within a few hundred.
const SEEDS: u64 = 3000;
const COPIED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "src", "tests"];

fn main() -> ExitCode {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number")))
    };
    let (seeds, only) = (number("SEEDS").unwrap_or(SEEDS), number("BUG"));
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::Builder::new().prefix("rivulet-bugs-").tempdir();
    let folder = folder.expect("a temporary folder");
    for name in COPIED {
        copy(&project.join(name), &folder.path().join(name));
    }
    let mut missed = 0;
    for (index, bug) in BUGS.iter().enumerate() {
        if only.is_some_and(|only| only != index as u64 + 1) {
            continue;
        }
        let began = Instant::now();
        let found = hunt(bug, project, folder.path(), seeds);
        let (number, took) = (index + 1, began.elapsed().as_secs());
        match found {
            Some(how) => println!("bug {number}: {}: caught: {how} ({took} s)", bug.what),
            None => {
                println!("bug {number}: {}: NOT caught by {seeds} seeds ({took} s)", bug.what);
                missed += 1;
            }
        }
    }
    println!("{missed} were missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir(to).expect("the folder is new");
    for entry in fs::read_dir(from).expect("a folder of the project") {
        let entry = entry.expect("a readable folder");
        // Folders of builds, which packages below `tests` may have.
        if entry.file_name() != "target" {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

/// Builds the simulation of the copy.
fn cargo(project: &Path, folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--features", "collector", "--test", "sim"]);
    cargo.current_dir(folder);
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        cargo.env("CARGO_TARGET_DIR", project.join("target"));
    }
    cargo
}

/// Which seed found it, and what it said.
fn hunt(bug: &Bug, project: &Path, folder: &Path, seeds: u64) -> Option<String> {
    let path = folder.join(bug.file);
    let sound = fs::read_to_string(&path).expect("a source file");
    assert_eq!(sound.matches(bug.from).count(), 1, "{}: {}", bug.file, bug.what);
    fs::write(&path, sound.replace(bug.from, bug.to)).expect("the copy can be written");
    let built = cargo(project, folder).arg("--no-run").output().expect("cargo can be run");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{}: the bug is none: {said}", bug.what);
    let mut hunt = cargo(project, folder);
    hunt.args(["--", "--nocapture", "whatever_fails"]).env("SEEDS", seeds.to_string());
    let run = hunt.env_remove("SEED").output().expect("cargo can be run");
    fs::write(&path, sound).expect("the copy can be written");
    if run.status.success() {
        return None;
    }
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let seed = said.lines().find(|line| line.starts_with("seed ")).unwrap_or("no seed");
    let why =
        said.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
    Some(format!("{} {why}", seed.trim_end_matches("; its last steps:")))
}
