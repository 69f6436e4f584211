//! Files and messages that earlier versions wrote are read by this one: `tests/upgrade/<version>` has some of
//! each format, made by the first version that has it (see `tests/upgrade/make.rs`).

#![allow(unreachable_pub)]

#[path = "upgrade/golden.rs"]
mod golden;
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use golden::{BATCH, CHANGES, LINES};
use harness::process::{COLLECTOR, RIVULET, run, wait_until};

/// Whose formats are still in use.
const VERSIONS: [&str; 1] = ["0.1.0"];
const PATIENCE: Duration = Duration::from_secs(60);

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(version)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn agent_and_collector_go_on_with_what_an_earlier_version_left() {
    for version in VERSIONS {
        let made = folder(version);
        let expected = text(&made.join(LINES));
        let mut pipeline = golden::pipeline(&made);
        pipeline.start_collector();
        pipeline.start_agent();
        let count = expected.lines().count();
        wait_until("all has arrived", PATIENCE, || pipeline.lines().lines().count() >= count);
        let log = text(&pipeline.path("agent.log"));
        assert!(log.contains("buffer: goes on in epoch 1 "), "{version}: it did not go on:\n{log}");
        assert!(pipeline.agent().terminate(PATIENCE).success(), "{}", pipeline.said());
        assert!(pipeline.collector().terminate(PATIENCE).success(), "{}", pipeline.said());
        assert_eq!(golden::timeless(&pipeline.lines()), expected, "{version}");
    }
}

#[test]
fn batches_of_an_earlier_version_decode_to_what_they_were() {
    for version in VERSIONS {
        let made = folder(version);
        let [message, schema] = BATCH.map(|name| fs::read(made.join(name)).expect("its batch"));
        let found = golden::describe(&message, &schema).expect("a batch that was sound");
        assert_eq!(found, text(&made.join(CHANGES)), "{version}");
    }
}

#[test]
fn files_of_a_later_format_are_refused_with_what_to_do() {
    let pipeline = golden::pipeline(&folder(VERSIONS[VERSIONS.len() - 1]));
    let files = [
        (RIVULET, "agent", "agent.toml", "agent/buffer.db"),
        (COLLECTOR, "serve", "collector.toml", "collector/journal.db"),
    ];
    for (program, command, config, file) in files {
        let path = pipeline.path(file);
        let format = raise_format(&path);
        let before = fs::read(&path).expect("its file");
        let config = pipeline.path(config);
        let output = run(program, &[command, "--config", config.to_str().expect("a UTF-8 path")]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{program} takes a format that it does not know: {said}");
        let told = format!("has format {format}, and this version reads format {}", format - 1);
        assert!(said.contains(&told) && said.contains("run the version that wrote it"), "{said}");
        assert_eq!(fs::read(&path).expect("its file"), before, "{program} has changed it");
    }
}

/// Makes a file look as if a later version had written it. Returns that one's format.
fn raise_format(path: &Path) -> i32 {
    let db = rusqlite::Connection::open(path).expect("a database");
    let format: i32 =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
    db.pragma_update(None, "user_version", format + 1).expect("our copy");
    db.close().expect("a database");
    format + 1
}
