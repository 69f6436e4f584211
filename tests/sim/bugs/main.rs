//! SHELL: makes each of the deliberate bugs in a copy of the sources, and lets the simulation look for it.
//!
//! | variable | what |
//! |---|---|
//! | `SEEDS=n` | so many seeds for each |
//! | `BUG=n` | this one alone, from 1 |
//!
//! The copy is built in the project's own target folder, so that only this crate is built again, and of
//! this crate only what differs.

mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use list::{BUGS, Bug};

/// All of them are found within so many.
const SEEDS: u64 = 300;
const COPIED: [&str; 3] = ["Cargo.lock", "src", "tests"];

fn main() -> ExitCode {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is `{text}`, must be a number")))
    };
    let (seeds, only) = (number("SEEDS").unwrap_or(SEEDS), number("BUG"));
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| project.join("target"));
    // Always the same place: what was built there last is built on.
    let folder = std::path::absolute(target.join("bugs")).expect("a path");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    for name in COPIED {
        copy(&project.join(name), &folder.join(name));
    }
    let manifest = fs::read_to_string(project.join("Cargo.toml")).expect("the project's manifest");
    fs::write(folder.join("Cargo.toml"), without_programs(&manifest)).expect("it is our folder");
    let mut missed = 0;
    for (index, bug) in BUGS.iter().enumerate() {
        if only.is_some_and(|only| only != index as u64 + 1) {
            continue;
        }
        let began = Instant::now();
        let found = hunt(bug, &target, &folder, seeds);
        let (number, took) = (index + 1, began.elapsed().as_secs());
        match found {
            Some(how) => println!("bug {number}: {}: caught by {how} ({took} s)", bug.what),
            None => {
                println!("bug {number}: {}: NOT caught by {seeds} seeds ({took} s)", bug.what);
                missed += 1;
            }
        }
    }
    println!("{missed} were missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A test is built with all programs of its package: the simulation runs none of them.
fn without_programs(manifest: &str) -> String {
    let default = "default-run = \"rivulet\"";
    assert!(manifest.contains(default), "the manifest has no {default}");
    let manifest = manifest.replace(default, "autobins = false");
    let parts = manifest.split("\n\n").filter(|part| !part.starts_with("[[bin]]"));
    parts.collect::<Vec<_>>().join("\n\n")
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
fn cargo(target: &Path, folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--features", "collector", "--test", "sim"]);
    cargo.current_dir(folder);
    let target = std::path::absolute(target).expect("a path");
    cargo.env("CARGO_TARGET_DIR", target);
    // What cargo told this program of its package would make dependencies that look at it build again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    // It takes longer to build than to run.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "none");
    cargo
}

/// How many seeds it took, and what the last one said.
fn hunt(bug: &Bug, target: &Path, folder: &Path, seeds: u64) -> Option<String> {
    let path = folder.join(bug.file);
    let sound = fs::read_to_string(&path).expect("a source file");
    assert_eq!(sound.matches(bug.from).count(), 1, "{}: {}", bug.file, bug.what);
    fs::write(&path, sound.replace(bug.from, bug.to)).expect("the copy can be written");
    let built = cargo(target, folder).arg("--no-run").output().expect("cargo can be run");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{}: the bug is none: {said}", bug.what);
    let mut hunt = cargo(target, folder);
    hunt.args(["--", "--nocapture", "whatever_fails"]).env("SEEDS", seeds.to_string());
    let run = hunt.env_remove("SEED").output().expect("cargo can be run");
    fs::write(&path, sound).expect("the copy can be written");
    if run.status.success() {
        return None;
    }
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let seed = said.lines().find_map(|line| line.strip_prefix("seed ")?.strip_suffix(STORY));
    let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        panic!("{}: it failed, but no seed did: {said}", bug.what);
    });
    let why =
        said.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
    Some(format!("{} seeds, {why}", seed + 1))
}

/// What stands behind the number of a seed that failed.
const STORY: &str = " failed; its last steps:";
