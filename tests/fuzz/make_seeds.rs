//! Writes the fuzz targets' seeds: `seeds FOLDER [LOG…]`. Without logs, real servers make some first.

use std::fs;
use std::path::Path;

mod seeds;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let into = arguments.next().expect("seeds FOLDER [LOG…]");
    let mut all = seeds::own();
    for log in arguments {
        let file = fs::read(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        all.extend(seeds::of_log(&file));
    }
    for (name, seed) in &all {
        let folder = Path::new(&into).join(name);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        let hash = crc32fast::hash(seed);
        fs::write(folder.join(format!("seed-{hash:08x}-{}", seed.len())), seed).expect("a seed");
    }
    println!("{} seeds in {}", all.len(), Path::new(&into).display());
}
