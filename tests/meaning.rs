//! What a log alone does not tell arrives nevertheless: MariaDB's types that are plain strings in it, old
//! temporal columns with fractions, definitions that change on the way, and MySQL's partial JSON.

#![allow(unreachable_pub)]

mod harness;

use std::time::Duration;

use harness::agree;
use harness::json::Json;
use harness::pipeline::Pipeline;
use harness::server::{Flavour, Server};

const PATIENCE: Duration = Duration::from_secs(90);

/// The `after` of the last change of a table, once a row has arrived that says `mark`.
fn after(pipeline: &mut Pipeline, table: &str, mark: &str) -> Json {
    agree::wait_for(pipeline, mark, PATIENCE);
    let lines = pipeline.lines();
    let changes = lines.lines().map(Json::parse);
    let of_table = |change: &Json| {
        change.at("source").and_then(|source| source.at("table")?.text()) == Some(table)
    };
    let last = changes.rev().find(of_table).unwrap_or_else(|| panic!("no row of {table}"));
    last.at("after").expect("a change has an after image").clone()
}

fn started(server: &Server) -> Pipeline {
    let mut pipeline = Pipeline::new(server, "64MiB");
    pipeline.start_collector();
    pipeline.start_agent();
    pipeline
}

const COLUMNS: &str = "id int primary key, mark varchar(30), u uuid, a inet4, b inet6, j json, \
                       t0 time, t3 time(3), d0 datetime, d2 datetime(2), d6 datetime(6), \
                       s0 timestamp null, s1 timestamp(1) null, s5 timestamp(5) null, z int, \
                       w text unique, v varchar(3000) unique";

fn values(id: u32, mark: &str) -> String {
    format!(
        "({id}, '{mark}', '12345678-1234-1234-1234-123456789abc', '192.0.2.1', '2001:db8::1', '{{\"k\": [1]}}', \
         '-12:34:56', '-838:59:59.999', '2020-01-02 03:04:05', '2020-01-02 03:04:05.67', \
         '9999-12-31 23:59:59.999999', '2020-01-02 03:04:05', '2020-01-02 03:04:05.6', \
         '2020-01-02 03:04:05.67891', 7, '{mark}', '{mark}')"
    )
}

/// How each value reads in Debezium's JSON; no hash of a long UNIQUE key is among them.
fn check(row: &Json) {
    let names: Vec<_> = row.members().iter().map(|(name, _)| name.as_str()).collect();
    assert!(names[..3] == ["id", "mark", "u"] && names[15..17] == ["w", "v"], "{names:?}");
    assert!(names[17..].iter().all(|name| *name == "x"), "{names:?}");
    for (name, want) in [
        ("u", "12345678-1234-1234-1234-123456789abc"),
        ("a", "192.0.2.1"),
        ("b", "2001:db8::1"),
        ("j", "{\"k\": [1]}"),
        ("s0", "2020-01-02T03:04:05Z"),
        ("s1", "2020-01-02T03:04:05.6Z"),
        ("s5", "2020-01-02T03:04:05.67891Z"),
    ] {
        assert_eq!(row.at(name).and_then(Json::text), Some(want), "{name}: {row:?}");
    }
    for (name, want) in [
        ("t0", -45_296_000_000),
        ("t3", -3_020_399_999_000),
        ("d0", 1_577_934_245_000),
        ("d2", 1_577_934_245_670),
        ("d6", 253_402_300_799_999_999),
        ("z", 7),
    ] {
        assert_eq!(row.at(name).and_then(Json::whole), Some(want), "{name}: {row:?}");
    }
}

#[test]
fn what_mariadb_s_log_leaves_unsaid_is_asked_of_the_server() {
    let chosen: Vec<_> = Flavour::chosen().into_iter().filter(|it| !it.is_mysql()).collect();
    for flavour in &chosen {
        let options = ["--mysql56-temporal-format=OFF", "--binlog-row-metadata=NO_LOG"];
        let server = Server::start(*flavour, &options);
        server.sql("set time_zone='+00:00'");
        server.sql("create database m");
        let mut pipeline = started(&server);
        for metadata in ["no_log", "full"] {
            server.sql(&format!("set global binlog_row_metadata={metadata}"));
            let table = format!("m.{metadata}");
            // What INET4 is, and whether there is one, is the release's.
            server.sql(&format!("create table {table} ({COLUMNS})"));
            let mark = format!("{metadata}-first");
            server.sql(&format!("insert into {table} values {}", values(1, &mark)));
            check(&after(&mut pipeline, metadata, &mark));

            // A definition in two phases, and one that makes bytes of a UUID.
            server.sql("set binlog_alter_two_phase=on");
            server.sql(&format!("alter table {table} add x int default 5, algorithm=copy"));
            let mark = format!("{metadata}-added");
            server.sql(&format!(
                "insert into {table} select {} , 5",
                &values(2, &mark)[1..].trim_end_matches(')')
            ));
            let row = after(&mut pipeline, metadata, &mark);
            check(&row);
            assert_eq!(row.at("x").and_then(Json::whole), Some(5), "{row:?}");
            server.sql(&format!("alter table {table} modify u varbinary(40)"));
            let mark = format!("{metadata}-bytes");
            server.sql(&format!("insert into {table} (id, mark, u) values (3, '{mark}', 'uuid')"));
            let row = after(&mut pipeline, metadata, &mark);
            assert_eq!(row.at("u").and_then(Json::text), Some("dXVpZA=="), "{row:?}");
        }
        println!("{flavour}: meanings with and without names in the log");
    }
    println!("asked: {chosen:?}");
}

#[test]
fn partial_updates_of_json_arrive_as_documents_where_the_row_before_is_there() {
    if !Flavour::chosen().contains(&Flavour::Mysql) {
        println!("SERVERS leaves MySQL out, and with it its partial JSON");
        return;
    }
    let server = Server::start(Flavour::Mysql, &["--binlog-row-metadata=MINIMAL"]);
    let mut pipeline = started(&server);
    let mut session = server.session();
    let mut sql = |statement: &str| session.run(statement).expect("a good statement");
    sql("create database p");
    sql("create table p.t (id int primary key, mark varchar(30), a json, b json, n int)");
    let pad = "p".repeat(300);
    sql(&format!(
        "insert into p.t values (1, 'begun', '{{\"k\": [1, 2, 3], \"s\": \"x\", \"p\": \"{pad}\"}}', '{{\"p\": \"{pad}\", \
         \"q\": 1.5}}', 1)"
    ));
    sql("set binlog_row_value_options='PARTIAL_JSON'");
    for (nth, change) in [
        "a = json_set(a, '$.k[1]', json_object('é', 'ü'))",
        "a = json_remove(a, '$.k[0]'), b = json_replace(b, '$.q', -1e300)",
        "a = json_set(a, '$.new', '2020-01-02'), n = 2",
        "a = json_array_insert(a, '$.k[0]', true, '$.k[2]', null)",
        "b = null",
        "a = json_replace(a, '$.s', 'y')",
    ]
    .iter()
    .enumerate()
    {
        for image in ["full", "noblob"] {
            let mark = format!("{image}-{nth}");
            sql(&format!("set binlog_row_image={image}"));
            sql(&format!("update p.t set mark = '{mark}', {change}"));
            let row = after(&mut pipeline, "t", &mark);
            let select =
                sql("select ifnull(cast(a as char), '-'), ifnull(cast(b as char), '-') from p.t");
            for (name, want) in ["a", "b"].iter().zip(&select[0]) {
                // What did not change a NOBLOB image need not have.
                if let Some(found) = row.at(name) {
                    assert_eq!(found.text().unwrap_or("-"), want, "{mark} {name}");
                }
            }
        }
    }
    sql("set binlog_row_image=minimal");
    sql("update p.t set mark = 'minimal', a = json_remove(json_set(a, '$.s', 7), '$.new')");
    let row = after(&mut pipeline, "t", "minimal");
    let diffs = row.at("a").and_then(|a| a.at("json_diff")).unwrap_or_else(|| panic!("{row:?}"));
    let want =
        r#"[{"op": "replace", "path": "$.s", "value": 7}, {"op": "remove", "path": "$.new"}]"#;
    assert_eq!(diffs, &Json::parse(want));
}

#[test]
fn a_key_that_mysql_makes_and_does_not_show_is_a_column_with_a_name() {
    if !Flavour::chosen().contains(&Flavour::Mysql) {
        println!("SERVERS leaves MySQL out, and with it its generated keys");
        return;
    }
    let options = [
        "--binlog-row-metadata=MINIMAL",
        "--sql-generate-invisible-primary-key=ON",
        "--show-gipk-in-create-table-and-information-schema=OFF",
    ];
    let server = Server::start(Flavour::Mysql, &options);
    let mut pipeline = started(&server);
    server.sql("create database k");
    server.sql("create table k.t (mark varchar(30), key ((upper(mark))))");
    server.sql("insert into k.t values ('first'), ('second')");
    let row = after(&mut pipeline, "t", "second");
    assert_eq!(row.at("my_row_id").and_then(Json::whole), Some(2), "{row:?}");
    assert_eq!(row.members().len(), 2, "{row:?}");
    println!("my_row_id has its name");
}
