//! What is made of the logs of servers that cannot be had any more: MySQL 3.23 to 5.7, MariaDB 5.1 to 10.4.
//! Their bytes are written by their sources ([`log`]), and read by `rivulet decode` as a user reads a file.

// Each exam uses its part of the harness.
#![allow(unreachable_pub)]

#[path = "../harness/json.rs"]
mod json;
mod log;
#[path = "../harness/process.rs"]
#[allow(dead_code)]
mod process;

use json::Json;
use log::{Era, Log};
use process::RIVULET;
use rivulet::binlog::decoder::Decoder;
use rivulet::binlog::frame::Framer;

/// What `rivulet decode` says of a file: its exit code, its output, its complaint.
fn decode(bytes: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = tempfile::Builder::new().prefix("binlog.").tempfile().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a writable file");
    let path = file.path().to_str().expect("a UTF-8 path");
    let arguments: Vec<_> = ["decode"].iter().chain(arguments).copied().chain([path]).collect();
    let output = process::run(RIVULET, &arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The values of the only row, as `rivulet decode --format text` prints them.
fn values(bytes: &[u8]) -> Vec<String> {
    let (code, lines, said) = decode(bytes, &["--format", "text"]);
    assert_eq!(code, Some(0), "{said}");
    let value = |line: &str| Some(line.strip_prefix("###   @")?.split_once('=')?.1.to_owned());
    lines.lines().filter_map(value).collect()
}

/// What `--stats` counts: `(checksum, events of the kind, inserts, updates, deletes)`, of a whole file.
fn stats(bytes: &[u8], kind: &str) -> (String, i128, [i128; 3]) {
    let (code, line, said) = decode(bytes, &["--stats"]);
    assert_eq!(code, Some(0), "{said}");
    let stats = Json::parse(&line);
    assert_eq!(stats.at("complete"), Some(&Json::Bool(true)), "{line}");
    let checksum = stats.at("checksum").and_then(Json::text).unwrap_or_default().to_owned();
    let events = stats.at("events").and_then(|events| events.at(kind)?.whole()).unwrap_or(0);
    let count = |operation| {
        let rows = stats.at("rows").and_then(|rows| rows.at("d.t"));
        rows.and_then(|rows| rows.at(operation)?.whole()).unwrap_or(0)
    };
    (checksum, events, ["insert", "update", "delete"].map(count))
}

/// The error of a file that cannot be read.
fn refusal(bytes: &[u8]) -> String {
    let (code, _, said) = decode(bytes, &["--stats"]);
    assert_eq!(code, Some(3), "{said}");
    said
}

/// INT, VARCHAR(20), TIMESTAMP, TIME, DATETIME, DATE, YEAR, DECIMAL(10,2): all in their old form.
const KINDS: [u8; 8] = [3, 15, 7, 11, 12, 10, 13, 246];
const METADATA: [u8; 4] = [20, 0, 10, 2];

fn row(id: u8) -> Vec<u8> {
    let mut row = vec![0, id, 0, 0, 0, 3, b'a', b'b', b'c'];
    row.extend(1_000_000_000_u32.to_le_bytes());
    row.extend(&123_456_u32.to_le_bytes()[..3]);
    row.extend(20_200_102_030_405_u64.to_le_bytes());
    row.extend(&((2020_u32 << 9) | (2 << 5) | 29).to_le_bytes()[..3]);
    row.extend([120, 0x80, 0, 0, 123, 45]);
    row
}

const VALUES: [&str; 8] = [
    "7",
    "'abc'",
    "'2001-09-09 01:46:40'",
    "'12:34:56'",
    "'2020-01-02 03:04:05'",
    "'2020-02-29'",
    "2020",
    "123.45",
];

/// A file with one row of the old forms, and the same row updated and deleted.
fn old_rows(mut log: Log) -> Log {
    log.query("BEGIN").table(&KINDS, &METADATA).rows(23, 8, &[&row(7)]).xid();
    log
}

#[test]
fn mysql_5_0_logs_statements_which_are_told_and_refused() {
    let mut log = Log::new(Era::My50, "5.0.96-log", None);
    log.query("CREATE TABLE t (id INT)").query("GRANT ALL ON d.* TO u");
    assert_eq!(stats(&log.bytes, "QUERY"), ("off".to_owned(), 2, [0; 3]));
    // INSERT_ID by itself is no change; the statement behind it is.
    log.event(5, 0, &[2, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(stats(&log.bytes, "INTVAR").1, 1);
    log.query("INSERT INTO t VALUES (NULL)");
    let said = refusal(&log.bytes);
    assert!(said.contains("QUERY") && said.contains("logged as a statement"), "{said}");
}

#[test]
fn load_data_is_refused_where_it_is_executed() {
    let mut log = Log::new(Era::My50, "5.0.96-log", None);
    log.query("BEGIN").event(17, 0, &[1, 0, 0, 0, b'7']).event(9, 0, &[1, 0, 0, 0, b'8']);
    let before = log.bytes.len();
    log.event(18, 0, &[&[0; 13][..], &[0; 13], b"\0LOAD DATA INFILE 'f' INTO TABLE t"].concat());
    let said = refusal(&log.bytes);
    assert!(said.contains(&format!(":{before}: EXECUTE_LOAD_QUERY")), "{said}");
    assert!(said.contains("logged as a statement"), "{said}");
}

#[test]
fn rows_of_version_1_are_read_with_table_ids_of_either_length() {
    for (era, version) in [
        (Era::My51Early, "5.1.12-beta-log"),
        (Era::My51, "5.1.73-log"),
        (Era::My51, "5.5.62-38.14-log"),
    ] {
        let log = old_rows(Log::new(era, version, None));
        assert_eq!(values(&log.bytes), VALUES, "{version}");
        assert_eq!(stats(&log.bytes, "WRITE_ROWS_V1"), ("off".to_owned(), 1, [1, 0, 0]));
    }
    let mut log = Log::new(Era::My51, "5.5.62", None);
    let (old, new) = (row(7), row(8));
    log.query("BEGIN").table(&KINDS, &METADATA);
    log.rows(23, 8, &[&old, &old]).rows(24, 8, &[&old, &new]).rows(25, 8, &[&new]);
    log.query("COMMIT");
    assert_eq!(stats(&log.bytes, "QUERY").2, [2, 1, 1]);
}

#[test]
fn rows_from_before_version_1_are_refused_with_the_reason() {
    for kind in 20..=22 {
        let mut log = Log::new(Era::My51Early, "5.1.5-alpha-log", None);
        log.query("BEGIN").table(&KINDS, &METADATA).rows(kind, 8, &[&row(7)]).xid();
        let said = refusal(&log.bytes);
        assert!(said.contains("before 5.1.16") && said.contains("NULL"), "{said}");
    }
}

#[test]
fn mysql_5_6_and_5_7_have_checksums_gtids_and_rows_of_version_2() {
    let uuid = [9; 16];
    let gtid = [&[1][..], &uuid, &5_u64.to_le_bytes()].concat();
    let clock = [&[2][..], &1_u64.to_le_bytes(), &2_u64.to_le_bytes()].concat();
    for (era, version, name, body) in [
        (Era::My56, "5.6.51-log", 33, gtid.clone()),
        (Era::My57, "5.7.44-log", 33, [&gtid[..], &clock].concat()),
        (Era::My57, "5.7.44", 34, [&[1][..], &[0; 24], &clock].concat()),
    ] {
        for algorithm in [0, 1] {
            let mut log = Log::new(era, version, Some(algorithm));
            // No source in it: PREVIOUS_GTIDS of a new server.
            log.event(35, 0x80, &[0; 8]).event(name, 0, &body).query("BEGIN");
            log.event(29, 0x80, b"\x08INSERT 1");
            log.table(&[3, 17, 18, 19], &[3, 0, 6]);
            let stamp = [0x3b, 0x9a, 0xca, 0, 0x1e, 0x78]; // .780 of that second
            let moment = [0x99, 0xa5, 0x44, 0x31, 0x05];
            let clock = [0x80, 0xc8, 0xb8, 0, 0, 1];
            let row = [&[0, 7, 0, 0, 0][..], &stamp, &moment, &clock].concat();
            log.rows(30, 4, &[&row]).xid();
            let want =
                ["7", "'2001-09-09 01:46:40.780'", "'2020-01-02 03:04:05'", "'12:34:56.000001'"];
            assert_eq!(values(&log.bytes), want, "{version}");
            let checksum = ["off", "crc32"][usize::from(algorithm)].to_owned();
            assert_eq!(stats(&log.bytes, "ROWS_QUERY"), (checksum, 1, [1, 0, 0]), "{version}");
        }
    }
}

#[test]
fn mariadb_before_10_0_has_checksums_since_5_3_and_no_gtids() {
    for (version, algorithm, checksum) in [
        ("5.2.14-MariaDB", None, "off"),
        ("5.5.68-MariaDB-log", Some(1), "crc32"),
        ("5.5.5-10.0.38-MariaDB", Some(0), "off"),
    ] {
        let mut log = Log::new(Era::Maria55, version, algorithm);
        log.query("BEGIN").event(160, 0, b"INSERT INTO t VALUES (7)");
        log.table(&KINDS, &METADATA).rows(23, 8, &[&row(7)]).xid();
        assert_eq!(values(&log.bytes), VALUES, "{version}");
        assert_eq!(stats(&log.bytes, "ANNOTATE_ROWS"), (checksum.to_owned(), 1, [1, 0, 0]));
    }
}

#[test]
fn mariadb_10_begins_transactions_with_gtids() {
    let mut log = Log::new(Era::Maria100, "10.4.34-MariaDB-log", Some(1));
    let list = [&1_u32.to_le_bytes()[..], &[0; 4], &[5, 0, 0, 0], &8_u64.to_le_bytes()].concat();
    log.event(163, 0, &list).event(161, 0, b"\x0d\0\0\0binlog.000001");
    let gtid = |flags: u8| [&9_u64.to_le_bytes()[..], &[0; 4], &[flags], &[0; 6]].concat();
    log.event(162, 0, &gtid(1 | 0x20)).query("CREATE TABLE t (id INT)");
    log.event(162, 0, &gtid(4)).table(&KINDS, &METADATA).rows(23, 8, &[&row(7)]).xid();
    assert_eq!(values(&log.bytes), VALUES);
    assert_eq!(stats(&log.bytes, "MARIA_GTID"), ("crc32".to_owned(), 2, [1, 0, 0]));
}

#[test]
fn digits_that_mariadb_s_log_does_not_tell_are_noticed() {
    // DATETIME(6) takes as many bytes as DATETIME; TIME(2) takes one more than TIME.
    let moment =
        [&[0xfc, 7, 0, 0, 0][..], &[0x00, 0x6f, 0xc5, 0x38, 0x1c, 0x9f, 0x2b, 0x71]].concat();
    let clock = [0xfc, 7, 0, 0, 0, 0, 0x4c, 0x31, 0x10];
    for (kind, row) in [(12, &moment[..]), (11, &clock)] {
        let mut log = Log::new(Era::Maria100, "10.4.34-MariaDB-log", Some(1));
        log.query("BEGIN").table(&[3, kind], &[]).rows(23, 2, &[row]).xid();
        let said = refusal(&log.bytes);
        assert!(said.contains("d.t.@2") && said.contains("through the server"), "{said}");
    }
}

#[test]
fn logs_from_before_mysql_5_0_are_refused_with_the_reason() {
    // START_V3 of MySQL 4.1 with a header of 19 bytes, that of 3.23 with one of 13.
    for (version, number, header) in [("4.1.22-log", 3_u16, 19_u32), ("3.23.58-log", 1, 13)] {
        let mut bytes = b"\xfebin".to_vec();
        bytes.extend(1_000_000_000_u32.to_le_bytes());
        bytes.extend([1, 5, 0, 0, 0]);
        bytes.extend((header + 56).to_le_bytes());
        bytes.extend(&[0; 6][..header as usize - 13]);
        bytes.extend(number.to_le_bytes());
        bytes.extend(version.bytes().chain(std::iter::repeat(0)).take(50));
        bytes.extend([0; 4]);
        let said = refusal(&bytes);
        assert!(said.contains("before MySQL 5.0") && said.contains("statements"), "{said}");
    }
}

#[test]
fn what_a_server_lost_it_says_itself() {
    let mut log = Log::new(Era::My51, "5.5.62", None);
    log.event(26, 0, b"\x01\0\x09disk full");
    let said = refusal(&log.bytes);
    assert!(said.contains("INCIDENT 1") && said.contains("disk full"), "{said}");
}

#[test]
fn an_unknown_event_is_left_out_only_if_the_server_allows_it() {
    let mut log = Log::new(Era::My57, "5.7.44", Some(1));
    log.event(90, 0x80, b"anything");
    assert_eq!(stats(&log.bytes, "UNKNOWN").1, 1);
    log.event(91, 0, b"anything");
    assert!(refusal(&log.bytes).contains("event type 91 is not known"));
}

#[test]
fn no_truncation_of_an_old_log_does_harm() {
    for log in [
        old_rows(Log::new(Era::My51Early, "5.1.12", None)),
        old_rows(Log::new(Era::Maria100, "10.4.34-MariaDB", Some(1))),
    ] {
        let whole = events(&log.bytes);
        for len in 0..log.bytes.len() {
            assert!(events(&log.bytes[..len]) < whole, "{len}");
        }
    }
}

/// How many whole events there are; none of them may be an error.
fn events(bytes: &[u8]) -> usize {
    let (mut framer, mut decoder, mut count) = (Framer::new(), Decoder::new(), 0);
    framer.push(bytes);
    while let Some(frame) = framer.next().expect("a file's beginning is one") {
        decoder.decode(frame.bytes).expect("a whole event");
        count += 1;
    }
    count
}
