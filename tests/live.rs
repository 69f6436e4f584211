//! Every server is followed as it comes out of the box: its own metadata settings (names from
//! information_schema), its own way of logging in, through rotations, a crash of the server and a
//! restart of the agent.

#![allow(unreachable_pub)]

mod harness;

use std::time::Duration;

use harness::agree;
use harness::pipeline::Pipeline;
use harness::server::{Flavour, Server};
use harness::workload::Workload;

/// What the server itself has as its default: no names in the log.
fn sparse(flavour: Flavour) -> &'static str {
    if flavour.is_mysql() {
        "--binlog-row-metadata=MINIMAL"
    } else {
        "--binlog-row-metadata=NO_LOG"
    }
}

fn work(workload: &mut Workload, transactions: u32) {
    (0..transactions).for_each(|_| workload.step());
}

fn arrives(pipeline: &mut Pipeline, server: &Server, workload: &mut Workload) {
    let mark = workload.mark();
    agree::wait_for(pipeline, &mark, Duration::from_secs(90));
    let agreement = agree::check(server, &pipeline.lines(), workload.changes)
        .unwrap_or_else(|what| panic!("{}: {what}\n{}", server.flavour, pipeline.said()));
    println!("{}: {} lines, {} rows as by SELECT", server.flavour, agreement.lines, agreement.rows);
}

#[test]
fn a_server_is_followed_through_rotations_a_crash_and_a_restart_of_the_agent() {
    let chosen = Flavour::chosen();
    for flavour in &chosen {
        let server = Server::start(*flavour, &[sparse(*flavour)]);
        let mut pipeline = Pipeline::new(&server, "64MiB");
        let mut workload = Workload::new(&server, 11);
        pipeline.start_collector();
        pipeline.start_agent();
        for _ in 0..5 {
            work(&mut workload, 40);
            server.sql("flush binary logs");
        }
        arrives(&mut pipeline, &server, &mut workload);

        work(&mut workload, 100);
        server.kill();
        server.restart();
        workload.reconnect(&server);
        work(&mut workload, 100);
        arrives(&mut pipeline, &server, &mut workload);

        let status = pipeline.agent().terminate(Duration::from_secs(10));
        assert!(status.success(), "{flavour}: the agent ends with {status}\n{}", pipeline.said());
        work(&mut workload, 100);
        server.sql("flush binary logs");
        work(&mut workload, 100);
        pipeline.start_agent();
        arrives(&mut pipeline, &server, &mut workload);
    }
    println!("followed: {chosen:?}");
}

/// MySQL makes certificates of its own, which carry no name: the authority is what can be verified.
#[test]
fn a_server_is_followed_over_tls() {
    if !Flavour::chosen().contains(&Flavour::Mysql) {
        println!("SERVERS leaves MySQL out, and with it its TLS");
        return;
    }
    let server = Server::start(Flavour::Mysql, &[sparse(Flavour::Mysql)]);
    server.sql("set sql_log_bin=0");
    let (user, _) = server.replica_user();
    server.sql("set sql_log_bin=0");
    server.sql(&format!("alter user {user}@'%' require ssl"));
    server.sql("set sql_log_bin=1");
    let security = format!("tls = \"verify-ca\"\nca = {:?}\n", server.data().join("ca.pem"));
    let mut pipeline = Pipeline::of_server(&server, &security, "64MiB");
    let mut workload = Workload::new(&server, 12);
    pipeline.start_collector();
    pipeline.start_agent();
    work(&mut workload, 100);
    arrives(&mut pipeline, &server, &mut workload);
}

/// The files are encrypted; what the server sends is not.
#[test]
fn a_server_that_encrypts_its_logs_is_followed() {
    let chosen = Flavour::chosen();
    for flavour in &chosen {
        let server = Server::start_encrypted(*flavour);
        let mut pipeline = Pipeline::new(&server, "64MiB");
        let mut workload = Workload::new(&server, 13);
        pipeline.start_collector();
        pipeline.start_agent();
        work(&mut workload, 50);
        server.sql("flush binary logs");
        work(&mut workload, 50);
        arrives(&mut pipeline, &server, &mut workload);
    }
    println!("followed with encrypted logs: {chosen:?}");
}
