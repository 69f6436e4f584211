//! Makes the files that later versions have to read: `cargo run --features collector --example golden FOLDER`.
//!
//! It is run once for each format, by the first version that has it, and its files never change again. They
//! come out of the programs themselves, stopped in mid-way:
//!
//! | the collector has | the agent has besides | the log has besides |
//! |---|---|---|
//! | the first batches | batches that wait, and a prepared transaction | its commit, and more |

#[path = "golden.rs"]
#[allow(unreachable_pub)]
mod golden;
#[path = "../harness/mod.rs"]
mod harness;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use golden::{BATCH, CHANGES, KEPT, LINES, LOG};
use harness::pipeline::Pipeline;
use harness::process::wait_until;
use harness::server::{Flavour, Server};
use rivulet::buffer::Buffer;

const PATIENCE: Duration = Duration::from_secs(60);
const TABLE: &str = "create table x.t (id int unsigned primary key, big bigint, price decimal(12,4), ratio double, \
    day date, at datetime(6), span time(3), word varchar(40) character set utf8mb4, old varchar(20) character set \
    latin1, data blob, kind enum('a','b','ü'), flags set('x','y'), bits bit(12), nothing int)";

fn row(id: u32, word: &str) -> String {
    format!(
        "({id}, -9223372036854775808 + {id}, {id}.0625, {id} / 3, '2026-02-28', '2026-02-28 23:59:59.123456', \
         '-838:59:58.999', '{word} 🚰', 'grün', x'00ff80{id:02x}', 'ü', 'x,y', {id}, null)"
    )
}

fn main() {
    let into: PathBuf = std::env::args_os().nth(1).expect("golden FOLDER").into();
    fs::create_dir_all(&into).expect("a folder for the files");
    let flavour = Flavour::named("mariadb1011").expect("a server that is known");
    let server = Server::start(flavour, &["--binlog-format=ROW", "--binlog-row-metadata=FULL"]);
    server.reset_logs();
    let source = tempfile::tempdir().expect("a temporary folder");
    let log = source.path().join(LOG);
    for statement in
        ["create database x", TABLE, &format!("insert into x.t values {}", row(1, "first"))]
    {
        server.sql(statement);
    }
    server.sql("update x.t set price = price * -3, nothing = 7, word = 'changed' where id = 1");
    grow(&server, &log);
    let mut pipeline = Pipeline::of_file(&log);
    pipeline.start_collector();
    pipeline.start_agent();
    wait_until("the collector has it", PATIENCE, || pipeline.lines().contains("changed"));
    assert!(pipeline.collector().terminate(PATIENCE).success(), "{}", pipeline.said());

    server.sql(&format!("insert into x.t values {}, {}", row(2, "second"), row(3, "third")));
    server.sql("create table x.u (id int primary key, text longtext)");
    server.sql("insert into x.u values (1, repeat('long ', 400)), (2, null)");
    let mut session = server.session();
    let prepared = format!("insert into x.t values {}", row(4, "prepared"));
    for statement in [
        "xa start 'later'",
        &prepared,
        "delete from x.t where id = 2",
        "xa end 'later'",
        "xa prepare 'later'",
    ] {
        session.run(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    server.sql("delete from x.u where id = 2");
    let length = grow(&server, &log);
    let buffer = pipeline.path("agent/buffer.db");
    wait_until("the agent has read it", PATIENCE, || {
        let stands = Buffer::peek(&buffer).ok().and_then(|glance| glance.checkpoint);
        stands.is_some_and(|stands| stands.position.offset == length)
    });
    assert!(pipeline.agent().terminate(PATIENCE).success(), "{}", pipeline.said());
    for (name, place) in KEPT {
        let wal = pipeline.path(&format!("{place}-wal"));
        assert!(!fs::exists(&wal).expect("our folder"), "{}", wal.display());
        fs::copy(pipeline.path(place), into.join(name)).expect("a writable folder");
    }
    batch(&into);

    session.run("xa commit 'later'").unwrap_or_else(|error| panic!("{error}"));
    server.sql("update x.t set data = null, span = null where id = 3");
    grow(&server, &log);
    fs::copy(&log, into.join(LOG)).expect("a writable folder");
    let mut pipeline = golden::pipeline(&into);
    pipeline.start_collector();
    pipeline.start_agent();
    let last =
        |lines: &str| lines.lines().last().is_some_and(|line| line.contains("\"span\":null"));
    wait_until("all has arrived", PATIENCE, || last(&pipeline.lines()));
    fs::write(into.join(LINES), golden::timeless(&pipeline.lines())).expect("a writable folder");
}

/// Appends what the server has written since. Returns the length.
fn grow(server: &Server, log: &Path) -> u64 {
    let name = server.value("show binary logs");
    let bytes = fs::read(server.data().join(name)).expect("the server's log");
    let mut file = File::options().create(true).append(true).open(log).expect("our folder");
    let from = file.metadata().expect("our file").len();
    file.write_all(&bytes[from as usize..]).expect("our file");
    bytes.len() as u64
}

/// The first message of the journal, and its schema.
fn batch(into: &Path) {
    let db = rusqlite::Connection::open(into.join("journal.db")).expect("the journal");
    let bytes =
        |select: &str| db.query_row(select, [], |row| row.get::<_, Vec<u8>>(0)).expect(select);
    let message = bytes("select message from message order by id limit 1");
    let schema = bytes("select record from schema limit 1");
    let text = golden::describe(&message, &schema).expect("our own batch");
    for (name, bytes) in [(BATCH[0], &message), (BATCH[1], &schema), (CHANGES, &text.into_bytes())]
    {
        fs::write(into.join(name), bytes).expect("a writable folder");
    }
}
