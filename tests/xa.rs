//! XA transactions count where they commit: prepared in one file, committed in another, with others in
//! between and with kills of the agent anywhere, and never if they are rolled back. Beside them large
//! transactions that go back to savepoints whose rows have been staged.

#![allow(unreachable_pub)]

mod harness;

use std::process::Output;
use std::time::Duration;

use harness::agree;
use harness::pipeline::Pipeline;
use harness::process::{RIVULET, run, wait_until};
use harness::replay::Change;
use harness::server::{Flavour, Server};
use harness::session::Session;

fn sql(session: &mut Session, statement: &str) {
    session.run(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Rows that do not compress well, so that 200 of them are more than a batch.
fn many(table: &str, from: u32, count: u32) -> String {
    let value = "repeat(sha2(seq, 512), 9)";
    format!(
        "insert into {table} with recursive n (seq) as (select {from} union all \
         select seq + 1 from n where seq + 1 < {from} + {count}) select seq, {value} from n"
    )
}

fn prepare(session: &mut Session, name: &str, statements: &[&str]) {
    sql(session, &format!("xa start {name}"));
    statements.iter().for_each(|statement| sql(session, statement));
    sql(session, &format!("xa end {name}"));
    sql(session, &format!("xa prepare {name}"));
}

fn restart_agent(pipeline: &mut Pipeline) {
    pipeline.agent().kill();
    pipeline.start_agent();
}

/// Writes a row and waits until it is at the centre: what was written before has been read.
fn mark(server: &Server, pipeline: &mut Pipeline, number: u32) {
    server.sql(&format!("insert into x.t values ({number}, 'mark {number}')"));
    agree::wait_for(pipeline, &format!("mark {number}"), Duration::from_secs(60));
}

/// The keys of all changes at the centre, in their order.
fn keys(lines: &str) -> Vec<(i128, String)> {
    let key = |change: &Change| change.after.at("id").and_then(harness::json::Json::whole);
    let table = |change: &Change| change.table.clone();
    Change::all(lines).iter().map(|change| (key(change).unwrap(), table(change))).collect()
}

#[test]
fn xa_transactions_arrive_when_they_commit_whatever_dies_before() {
    for flavour in Flavour::chosen() {
        let server = Server::start(flavour, &["--binlog-format=ROW"]);
        let mut pipeline = Pipeline::new(&server, "16MiB");
        pipeline.start_collector();
        pipeline.start_agent();
        server.sql("create database x");
        for table in ["t", "late", "never"] {
            server.sql(&format!("create table x.{table} (id int primary key, v varchar(2000))"));
        }
        mark(&server, &mut pipeline, 1);

        let mut sessions: Vec<_> = (0..4).map(|_| server.session()).collect();
        sessions.iter_mut().for_each(|session| sql(session, "use x"));
        let [small, large, gone, again] = sessions.as_mut_slice() else { unreachable!() };
        prepare(small, "'small'", &["insert into x.late values (10, 'small')"]);
        mark(&server, &mut pipeline, 2);
        restart_agent(&mut pipeline);
        let rows = [&many("x.t", 1000, 400), "update x.t set v = 'changed' where id = 1399"];
        prepare(large, "'large','b\\'q',7", &rows);
        server.sql("flush binary logs");
        prepare(gone, "0xdead00,0x01", &[&many("x.never", 1, 200)]);
        mark(&server, &mut pipeline, 3);
        restart_agent(&mut pipeline);
        sql(gone, "xa rollback 0xdead00,0x01");
        prepare(again, "0xdead00,0x01", &["insert into x.t values (20, 'the name again')"]);
        mark(&server, &mut pipeline, 4);
        sql(large, "xa commit 'large','b\\'q',7");
        restart_agent(&mut pipeline);
        mark(&server, &mut pipeline, 5);
        server.sql("flush binary logs");
        sql(again, "xa commit 0xdead00,0x01");
        mark(&server, &mut pipeline, 6);
        let mut other = server.session();
        drop(std::mem::replace(small, server.session()));
        wait_until("the end of the session that prepared", Duration::from_secs(10), || {
            other.run("xa commit 'small'").is_ok()
        });
        sql(&mut other, "xa start 'one'");
        sql(&mut other, "insert into x.late values (30, 'one phase')");
        sql(&mut other, "xa end 'one'");
        sql(&mut other, "xa commit 'one' one phase");
        restart_agent(&mut pipeline);
        mark(&server, &mut pipeline, 7);

        let lines = pipeline.lines();
        let changes = 7 + 1 + 401 + 1 + 1;
        let agreement = agree::check(&server, &lines, changes)
            .unwrap_or_else(|what| panic!("{flavour}: {what}\n{}", pipeline.said()));
        let at = |id: i128, table: &str| {
            let wanted = (id, table.to_owned());
            let found = keys(&lines).iter().position(|key| *key == wanted);
            found.unwrap_or_else(|| panic!("{flavour}: {id} of {table} is missing"))
        };
        let order = [at(4, "t"), at(1000, "t"), at(1399, "t"), at(5, "t"), at(20, "t"), at(6, "t")];
        assert!(order.is_sorted(), "{flavour}: {order:?}");
        assert!(at(6, "t") < at(10, "late") && at(10, "late") < at(30, "late"), "{flavour}");
        decode_agrees(&server, &lines);
        println!("{flavour}: {} lines, {} rows as by SELECT", agreement.lines, agreement.rows);
    }
}

/// `rivulet decode` over all files prints the same changes, in the same places.
fn decode_agrees(server: &Server, lines: &str) {
    let files = server.closed_logs();
    let names: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let Output { status, stdout, stderr } = run(RIVULET, &[&["decode"], &names[..]].concat());
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let printed = String::from_utf8(stdout).unwrap();
    // MariaDB 11.8 does not tell a replica where in its files the events of a transaction stand.
    let exact = server.flavour != Flavour::Mariadb118;
    let places = |text: &str| -> Vec<_> {
        let place = |(file, offset, row)| (file, if exact { offset } else { 0 }, row);
        let all = Change::all(text).into_iter();
        all.map(|change| (place(change.place), change.gtid, format!("{:?}", change.after)))
            .collect()
    };
    let (printed, sunk) = (places(&printed), places(lines));
    assert_eq!(printed.len(), sunk.len());
    for (printed, sunk) in printed.iter().zip(&sunk) {
        assert_eq!(printed, sunk, "decode and the sink differ");
    }
    // Alone, the last file has a commit whose rows are elsewhere.
    let last = names.last().unwrap();
    let refused = run(RIVULET, &["decode", last]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("prepared in an earlier file"));
    let left_out = run(RIVULET, &["decode", "--on-statement", "skip-and-report", last]);
    assert!(left_out.status.success());
    assert!(String::from_utf8_lossy(&left_out.stderr).contains("XA COMMIT"));
}

/// MariaDB logs ROLLBACK TO behind rows if a temporary table was made in between.
#[test]
fn large_transactions_go_back_to_savepoints_that_were_staged() {
    if !Flavour::chosen().contains(&Flavour::Mariadb118) {
        println!("SERVERS leaves MariaDB 11.8 out, and with it rollbacks that are in the log");
        return;
    }
    let server = Server::start(Flavour::Mariadb118, &["--binlog-format=ROW"]);
    let mut pipeline = Pipeline::new(&server, "16MiB");
    pipeline.start_collector();
    pipeline.start_agent();
    server.sql("create database x");
    server.sql("create table x.t (id int primary key, v varchar(2000))");
    let mut session = server.session();
    let mut changes = 0;
    for (number, savepoints) in [["a", "b"], ["b", "a"], ["a", "a"]].into_iter().enumerate() {
        let base = 10_000 * number as u32;
        sql(&mut session, "begin");
        sql(&mut session, &many("x.t", base + 1000, 150));
        sql(&mut session, "savepoint a");
        sql(&mut session, &format!("create temporary table x.temporary{number} (a int)"));
        sql(&mut session, &many("x.t", base + 2000, 70));
        sql(&mut session, "savepoint b");
        sql(&mut session, &many("x.t", base + 3000, 300));
        for savepoint in savepoints {
            // To an older one and then to a newer one is no way.
            let _ = session.run(&format!("rollback to savepoint {savepoint}"));
        }
        sql(&mut session, &many("x.t", base + 4000, 3));
        sql(&mut session, "commit");
        sql(&mut session, "begin");
        sql(&mut session, &many("x.t", base + 5000, 150));
        sql(&mut session, &format!("drop temporary table x.temporary{number}"));
        sql(&mut session, "rollback");
        changes += 150 + 3;
    }
    mark(&server, &mut pipeline, 1);
    agree::check(&server, &pipeline.lines(), changes + 1)
        .unwrap_or_else(|what| panic!("{what}\n{}", pipeline.said()));
    let log = server.binlog_text(&server.closed_logs()).unwrap();
    let count = String::from_utf8_lossy(&log).matches("ROLLBACK TO `").count();
    assert!(count >= 4, "only {count} rollbacks to savepoints are in the log");
}
