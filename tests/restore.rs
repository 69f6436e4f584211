//! The collector's log is copied while it is written, lost, and put back from the copy: what was acknowledged
//! in between is read again at the source, and arrives once. Where the source has it no more, that is said and
//! nothing is passed over. And a sink is let go back.

#![allow(unreachable_pub)]

mod harness;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::agree;
use harness::pipeline::{Pipeline, sink_files};
use harness::process::{COLLECTOR, RIVULET, run, wait_until};
use harness::replay::Change;
use harness::server::{Flavour, Server};
use harness::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(120);

/// What one of our programs says, and whether it succeeds.
fn ask(program: &str, pipeline: &Pipeline, command: &str, more: &[&str]) -> (bool, String) {
    let config = if program == COLLECTOR { "collector.toml" } else { "agent.toml" };
    let config = pipeline.path(config);
    let all = [&[command, "--config", config.to_str().expect("a UTF-8 path")], more].concat();
    let output = run(program, &all);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn backup(pipeline: &Pipeline, name: &str) {
    let to = pipeline.path(name);
    let (done, said) =
        ask(COLLECTOR, pipeline, "backup", &["--to", to.to_str().expect("a UTF-8 path")]);
    assert!(done, "backup: {said}");
}

/// The collector dies, and its log is the copy.
fn put_back(pipeline: &mut Pipeline, name: &str) {
    pipeline.collector().kill();
    let log = pipeline.path("collector/journal.db");
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(format!("{}{suffix}", log.display()));
    }
    fs::copy(pipeline.path(name), &log).expect("the copy");
    pipeline.start_collector();
}

/// Transactions, and rotations of the binlog among them.
fn load(workload: &mut Workload, server: &Server, transactions: u32) {
    for number in 1..=transactions {
        workload.step();
        if number % 150 == 0 {
            server.sql("flush binary logs");
        }
    }
}

fn all_once(pipeline: &mut Pipeline, server: &Server, workload: &mut Workload, what: &str) {
    let mark = workload.mark();
    agree::wait_for(pipeline, &mark, PATIENCE);
    let agreement = agree::check(server, &pipeline.lines(), workload.changes)
        .unwrap_or_else(|why| panic!("{what}: {why}\n{}", pipeline.said()));
    println!("{what}: {} lines, each once; {} rows as by SELECT", agreement.lines, agreement.rows);
}

/// What stands in a program's log.
fn logged(pipeline: &Pipeline, log: &str, words: &str) -> bool {
    fs::read_to_string(pipeline.path(log)).unwrap_or_default().contains(words)
}

#[test]
fn what_a_restored_collector_lost_arrives_again_once() {
    for flavour in Flavour::chosen() {
        let server = Server::start(flavour, &["--binlog-format=ROW"]);
        let mut pipeline = Pipeline::new(&server, "64MiB");
        let mut workload = Workload::new(&server, 11);
        pipeline.start_collector();
        pipeline.start_agent();
        load(&mut workload, &server, 200);
        // Copies are made while transactions arrive.
        thread::scope(|scope| {
            let (workload, server) = (&mut workload, &server);
            let writing = scope.spawn(move || load(workload, server, 400));
            backup(&pipeline, "copy-1");
            writing.join().expect("the load ends by itself");
        });
        all_once(&mut pipeline, &server, &mut workload, &format!("{flavour}, before"));

        put_back(&mut pipeline, "copy-1");
        load(&mut workload, &server, 50);
        all_once(&mut pipeline, &server, &mut workload, &format!("{flavour}, in the same epoch"));
        assert!(logged(&pipeline, "collector.log", "the log is an older copy"));
        assert!(logged(&pipeline, "agent.log", "and lacks what it had acknowledged up to"));

        // A new epoch of the agent must not pass over it: here its buffer lost its lock file.
        put_back(&mut pipeline, "copy-1");
        pipeline.collector().kill();
        pipeline.agent().kill();
        fs::write(pipeline.path("agent/buffer.db.lock"), "").expect("the agent's folder");
        pipeline.start_agent();
        load(&mut workload, &server, 50);
        pipeline.start_collector();
        all_once(&mut pipeline, &server, &mut workload, &format!("{flavour}, in a new epoch"));

        // Nor one that lost its buffer, and would begin with what comes next.
        pipeline.agent().kill();
        for file in fs::read_dir(pipeline.path("agent")).expect("the agent's folder") {
            fs::remove_file(file.expect("an entry").path()).expect("ours");
        }
        load(&mut workload, &server, 50);
        let config = fs::read_to_string(pipeline.path("agent.toml")).expect("the configuration");
        let latest = config.replacen("[source]\n", "[source]\nstart = \"latest\"\n", 1);
        assert_ne!(latest, config);
        fs::write(pipeline.path("agent.toml"), latest).expect("the configuration");
        pipeline.start_agent();
        wait_until("the agent reads", PATIENCE, || {
            ask(RIVULET, &pipeline, "status", &[]).1.contains("source    connected")
        });
        load(&mut workload, &server, 50);
        all_once(&mut pipeline, &server, &mut workload, &format!("{flavour}, with a lost buffer"));
    }
}

#[test]
fn what_the_source_has_no_more_is_missed_aloud() {
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let mut pipeline = Pipeline::new(&server, "64MiB");
    let mut workload = Workload::new(&server, 12);
    pipeline.start_collector();
    pipeline.start_agent();
    load(&mut workload, &server, 100);
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);
    backup(&pipeline, "copy");
    load(&mut workload, &server, 100);
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);
    // What lies between the copy and now is purged, and the sink's files are gone with the log.
    server.sql("flush binary logs");
    let mark = workload.mark();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);
    let newest = server.value("show master status");
    // A server does not purge what it still sends.
    let status = pipeline.agent().terminate(PATIENCE);
    assert!(status.success(), "the agent ends with {status}\n{}", pipeline.said());
    wait_until("the server purges", PATIENCE, || {
        server.sql(&format!("purge binary logs to '{newest}'"));
        server.value("show binary logs") == newest
    });
    for file in fs::read_dir(pipeline.path("changes")).expect("the sink's folder") {
        fs::remove_file(file.expect("an entry").path()).expect("ours");
    }
    put_back(&mut pipeline, "copy");
    pipeline.start_agent();
    let mark = workload.mark();
    wait_until("the agent says what is missing", PATIENCE, || {
        let (_, status) = ask(RIVULET, &pipeline, "status", &[]);
        status.contains("lacks what it had acknowledged up to")
            && status.contains("cannot be read again")
            && status.contains("NOT HEALTHY")
    });
    assert!(!pipeline.lines().contains(&mark), "nothing passes over the gap");
    let config = fs::read_to_string(pipeline.path("agent.toml")).expect("the configuration");
    let gap = config.replacen("[buffer]\n", "[buffer]\non_gap = \"skip-and-report\"\n", 1);
    fs::write(pipeline.path("agent.toml"), gap).expect("the configuration");
    let status = pipeline.agent().terminate(PATIENCE);
    assert!(status.success(), "the agent ends with {status}\n{}", pipeline.said());
    pipeline.start_agent();
    agree::wait_for(&mut pipeline, &mark, PATIENCE);
    assert!(logged(&pipeline, "collector.log", "is MISSING here"), "{}", pipeline.said());
}

#[test]
fn a_sink_goes_back_as_it_is_told() {
    let server = Server::start(Flavour::Mariadb1011, &[]);
    let mut pipeline = Pipeline::new(&server, "64MiB");
    let mut workload = Workload::new(&server, 13);
    pipeline.start_collector();
    pipeline.start_agent();
    load(&mut workload, &server, 200);
    all_once(&mut pipeline, &server, &mut workload, "before the replay");
    let changes = pipeline.path("changes");
    let before = pipeline.lines();
    let third = Change::all(&before).len() / 3;
    let line = before.lines().nth(third).expect("a third of the lines").to_owned();
    let place = field(&line, "\"file\":\"").to_owned() + ":" + &field(&line, "\"pos\":");
    let gtid = field(&line, "\"gtid\":\"");

    let replay = |pipeline: &Pipeline, more: &[&str]| {
        let arguments = [&["--sink", "changes", "--from"], more].concat();
        ask(COLLECTOR, pipeline, "replay", &arguments)
    };
    for (from, what) in [("start", "all"), (place.as_str(), "a place"), (gtid.as_str(), "a GTID")] {
        let files = sink_files(&changes);
        let kept: Vec<_> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
        let (done, said) = replay(&pipeline, &[from]);
        assert!(done && said.contains("is replayed from entry"), "{what}: {said}");
        let last = before.lines().last().expect("a line");
        let again = || new_lines(&changes, files.len());
        wait_until(&format!("{what} again"), PATIENCE, || {
            again().lines().last().is_some_and(|it| same(it, last))
        });
        for (file, kept) in files.iter().zip(kept) {
            assert!(fs::read(file).expect("a file") == kept, "{} has changed", file.display());
        }
        let again = again();
        assert!(again.lines().any(|it| same(it, &line)), "{what}: the line that was asked for");
        let tail = before.lines().skip(before.lines().count() - again.lines().count());
        assert!(
            again.lines().zip(tail).all(|(one, other)| same(one, other)),
            "{what}: others come"
        );
        if from == "start" {
            let agreement = agree::check(&server, &again, workload.changes);
            agreement.unwrap_or_else(|why| panic!("all again: {why}\n{}", pipeline.said()));
        }
    }

    let refused = [
        ("999999999", "does not go so far yet"),
        ("2190-01-01", "nothing has come since"),
        ("0-1-99999999", "no such transaction"),
        ("soon", "is none of"),
    ];
    for (from, why) in refused {
        let (done, said) = replay(&pipeline, &[from]);
        assert!(!done && said.contains(why), "{from}: {said}");
    }
    let (done, said) = replay(&pipeline, &["0-1-1", "--agent", "nobody"]);
    assert!(!done && said.contains("nothing of agent"), "{said}");
    let (done, said) = ask(COLLECTOR, &pipeline, "replay", &["--sink", "other", "--from", "start"]);
    assert!(!done && said.contains("no sink of"), "{said}");

    // With the collector stopped the wish waits for it.
    let status = pipeline.collector().terminate(PATIENCE);
    assert!(status.success(), "the collector ends with {status}\n{}", pipeline.said());
    let files = sink_files(&changes).len();
    let (done, said) = replay(&pipeline, &["start"]);
    assert!(done && said.contains("as soon as the collector runs"), "{said}");
    assert_eq!(sink_files(&changes).len(), files);
    pipeline.start_collector();
    wait_until("all again", PATIENCE, || {
        new_lines(&changes, files).lines().count() == before.lines().count()
    });
}

/// All behind the first `files` files.
fn new_lines(changes: &Path, files: usize) -> String {
    let texts = sink_files(changes).into_iter().skip(files);
    texts.map(|file| fs::read_to_string(file).expect("a file of the sink")).collect()
}

/// What stands behind `name` in a line, up to the next quote, comma or brace.
fn field(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}"));
    rest.split(['"', ',', '}']).next().unwrap_or_default().to_owned()
}

/// Whether two lines are the same but for the time at which they were written, which stands at the end.
fn same(one: &str, other: &str) -> bool {
    let timeless = |line: &str| line.rsplit_once("\"ts_ms\":").map(|(line, _)| line.to_owned());
    timeless(one).is_some() && timeless(one) == timeless(other)
}
