//! Real logs: some of `tests/cases/` on each of the servers that take part.

use std::fs;
use std::thread;

use crate::harness::server::{Flavour, Server};
use crate::script::{self, Script};

/// Cases that together have every event and every type; each takes less than a second.
const CASES: [&str; 24] = [
    "dml_multi",
    "ddl_atomic_ctas",
    "gtid_tagged",
    "maria_alter_two_phase",
    "maria_types",
    "maria_versioned",
    "metadata_full",
    "mixed_format",
    "partial_json",
    "row_images",
    "rows_query",
    "savepoints_myisam",
    "txn_compression",
    "types_bit",
    "types_decimal",
    "types_enum_set",
    "types_float",
    "types_geometry",
    "types_int",
    "types_json",
    "types_string",
    "types_temporal",
    "types_temporal_old",
    "xa",
];

/// The logs of all cases on all servers.
pub(crate) fn make() -> Vec<Vec<u8>> {
    let flavours = Flavour::chosen();
    thread::scope(|scope| {
        let threads: Vec<_> =
            flavours.iter().map(|flavour| scope.spawn(|| of_server(*flavour))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a server made logs")).collect()
    })
}

fn of_server(flavour: Flavour) -> Vec<Vec<u8>> {
    let server = Server::start(flavour, &[]);
    let scripts = script::all(flavour);
    let chosen = scripts.iter().filter(|script| CASES.contains(&script.name.as_str()));
    let logs: Vec<_> = chosen.flat_map(|script| of_case(&server, script)).collect();
    assert!(logs.len() >= 10, "{flavour}: cases are missing");
    logs
}

fn of_case(server: &Server, script: &Script) -> Vec<Vec<u8>> {
    server.sql("set sql_log_bin=0");
    server.sql("set foreign_key_checks=0");
    let system = ["mysql", "information_schema", "performance_schema", "sys"];
    for row in server.sql("show databases") {
        if !system.contains(&row[0].as_str()) {
            server.sql(&format!("drop database `{}`", row[0]));
        }
    }
    server.reset_logs();
    script.run(server);
    let read = |path| fs::read(path).expect("a closed log can be read");
    server.closed_logs().into_iter().map(read).collect()
}
