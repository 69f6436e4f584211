//! SHELL: what is promised, measured: one Markdown table and one JSON object on standard output.
//!
//! | file | what |
//! |---|---|
//! | `server`, `workload` | a real server, and what it is given to do |
//! | `comparing` | our decoder beside others, as processes: rows per CPU second, memory, instructions |
//! | `log` | a log in memory → transactions and rows |
//! | `decoding`, `cutting`, `batching` | rooms without I/O, on a log in memory |
//! | `bytes` | what a row takes, beside the JSON of Debezium, Maxwell and Canal |
//! | `centre` | a collector and an agent as processes: certificates, configuration, their figures |
//! | `carrying` | files → agent → QUIC → collector → file |
//! | `relay` | counts the datagrams between the two |
//! | `waiting` | commit → line in the file; what an idle agent costs |
//! | `size` | the programs' sizes |
//! | `figures` | the table |
//!
//! | variable | default | what |
//! |---|---|---|
//! | `SERVERS_ROOT` | `target/servers` | where the server is unpacked; downloaded if it is not there |
//! | `BENCH_MB` | 40 | each log's length in megabytes |
//! | `BENCH_ONLY` | all | some of `compare,decode,batch,bytes,carry,wait,size` |

mod batching;
mod bytes;
mod carrying;
mod centre;
mod comparing;
mod cutting;
mod decoding;
mod figures;
mod log;
mod relay;
mod server;
mod size;
mod waiting;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use figures::Figures;
use server::{Flavour, Server};
use workload::Workload;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).expect("target/ can be written");
    let megabytes = std::env::var("BENCH_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(40);
    let mut figures = Figures::default();
    if wanted("compare") {
        comparing::run(&folder, |flavour, load, packed| logged(flavour, load, packed, megabytes));
    }
    if !["decode", "batch", "bytes", "carry", "wait", "size"].into_iter().any(wanted) {
        return;
    }
    let runs = ["carry", "wait"].into_iter().any(wanted);
    let centre = runs.then(|| centre::Programs::copy_to(&folder));
    let logs = [Workload::Shop, Workload::Readings]
        .map(|load| (load, logged(Flavour::Mariadb, load, false, megabytes)));
    for (load, path) in &logs {
        let log = log::Log::read(path);
        figures.put(load.name(), "log, MB", log.bytes.len() as f64 / 1e6);
        if wanted("decode") {
            decoding::run(load.name(), &log, &mut figures);
        }
        if wanted("batch") {
            batching::run(load.name(), &log, &mut figures);
        }
        if wanted("bytes") {
            bytes::run(load.name(), &log, &mut figures);
        }
        let rows = log.rows;
        drop(log);
        if let Some(centre) = centre.as_ref().filter(|_| wanted("carry")) {
            carrying::run(load.name(), path, rows, centre, &mut figures);
        }
    }
    if let Some(centre) = centre.as_ref().filter(|_| wanted("wait")) {
        waiting::run(centre, &mut figures);
    }
    if wanted("size") {
        size::run(&folder, &mut figures);
    }
    print!("{}", figures.to_markdown());
    println!("{}", figures.to_json());
}

fn wanted(part: &str) -> bool {
    std::env::var("BENCH_ONLY").map_or(true, |only| only.split(',').any(|one| one == part))
}

/// The workload's log on a server, compressed by it or plain; made once for each length.
fn logged(flavour: Flavour, load: Workload, packed: bool, megabytes: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/logs");
    let packing = if packed { "-compressed" } else { "" };
    let name = format!("{}-{}{packing}-{megabytes}", flavour.name(), load.name());
    let path = folder.join(name).join("binlog.000001");
    if !path.exists() {
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("it can be made");
        eprintln!("making {}", path.display());
        let server = Server::start(flavour, if packed { flavour.compression() } else { &[] });
        let written = load.run(&server, megabytes * 1_000_000);
        fs::copy(written, &path).expect("the log can be copied");
    }
    path
}
