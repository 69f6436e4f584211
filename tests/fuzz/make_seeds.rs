//! Writes the fuzz targets' seeds: `seeds FOLDER [LOG…]`. Without logs, real servers make some first.

use std::fs;
use std::path::Path;

#[path = "../differential/generated.rs"]
#[allow(unreachable_pub)]
mod generated;
#[path = "../harness/mod.rs"]
mod harness;
mod logs;
#[path = "../differential/script.rs"]
#[allow(unreachable_pub)]
mod script;
mod seeds;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let into = arguments.next().expect("seeds FOLDER [LOG…]");
    let read = |log: std::ffi::OsString| {
        fs::read(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()))
    };
    let mut logs: Vec<_> = arguments.map(read).collect();
    if logs.is_empty() {
        logs = logs::make();
    }
    let mut all = seeds::own();
    all.extend(logs.iter().flat_map(|log| seeds::of_log(log)));
    for (name, seed) in &all {
        let folder = Path::new(&into).join(name);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        // Equal seeds have equal names.
        let name = format!("{:08x}-{}", crc32fast::hash(seed), seed.len());
        fs::write(folder.join(name), seed).expect("a seed can be written");
    }
    println!("{} logs, {} seeds in {}", logs.len(), all.len(), Path::new(&into).display());
}
