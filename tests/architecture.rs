//! The map in `src/lib.rs`, checked: who may name whom, and where the outside world is allowed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms that it may use. Absent here means absent from `src/`.
const MAY_USE: [(&str, &[&str]); 17] = [
    (
        "agent",
        &[
            "batch",
            "binlog",
            "buffer",
            "config",
            "mqtt",
            "mysql",
            "position",
            "source",
            "telemetry",
            "transport",
            "uplink",
        ],
    ),
    ("batch", &["binlog", "position"]),
    ("binlog", &["position"]),
    ("buffer", &["position"]),
    (
        "collector",
        &[
            "batch",
            "binlog",
            "buffer",
            "config",
            "envelope",
            "mqtt",
            "position",
            "sink",
            "telemetry",
            "transport",
        ],
    ),
    ("config", &["position"]),
    ("decode", &["binlog", "envelope", "position"]),
    ("envelope", &["binlog", "position"]),
    ("mqtt", &["position"]),
    ("mysql", &["binlog", "position"]),
    ("position", &[]),
    ("sink", &["position"]),
    ("source", &["binlog", "mysql", "position"]),
    ("telemetry", &["config", "position"]),
    ("transport", &[]),
    ("uplink", &["batch", "position"]),
    ("bin", &["agent", "collector", "config", "decode", "envelope", "position", "telemetry"]),
];

/// Only files whose first line says SHELL may touch these.
const OUTSIDE: [&str; 15] = [
    "Instant::now",
    "SystemTime::now",
    "quinn::Endpoint",
    "smol::",
    "std::env",
    "std::fs",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "rusqlite::Connection",
    "socket2::",
];

/// The rooms that have no shell at all, whatever a first line says.
const PURE: [&str; 5] = ["batch", "binlog", "mqtt", "position", "uplink"];

#[test]
fn rooms_use_only_the_rooms_below_them() {
    for Source { path, room, text } in sources() {
        let allowed = MAY_USE.iter().find(|(name, _)| *name == room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{room} is not on the map"));
        let root = if room == "bin" { "rivulet::" } else { "crate::" };
        for used in named(&text, root) {
            let fine = used == room || allowed.contains(&used.as_str());
            assert!(fine, "{}: {room} must not use {used}", path.display());
        }
    }
}

#[test]
fn every_room_on_the_map_is_there_and_is_drawn() {
    let there: BTreeSet<String> = sources().into_iter().map(|source| source.room).collect();
    let drawing = fs::read_to_string(src().join("lib.rs")).unwrap();
    for (room, _) in MAY_USE {
        assert!(there.contains(room), "{room} is on the map, but not in src/");
        let drawn = drawing.contains(&format!("`{room}`"));
        assert!(drawn || room == "bin", "{room} is missing in the drawing of src/lib.rs");
    }
}

#[test]
fn only_shells_touch_the_world() {
    for Source { path, room, text } in sources() {
        let shell = text.lines().next().is_some_and(|line| line.starts_with("//! SHELL: "));
        assert!(!(shell && PURE.contains(&room.as_str())), "{} is no shell", path.display());
        for outside in OUTSIDE.iter().filter(|_| !shell) {
            assert!(!text.contains(outside), "{} uses {outside}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read() {
    for Source { path, .. } in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 900, "{} has {lines} lines", path.display());
    }
}

/// The first names behind `root` in a file, single or in braces.
fn named(text: &str, root: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut names = BTreeSet::new();
    for behind in text.split(root).skip(1) {
        match behind.strip_prefix('{') {
            None => names.extend([word(behind)]),
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                names.extend(list.split(',').map(word).filter(|name| !name.is_empty()));
            }
        }
    }
    names
}

struct Source {
    path: PathBuf,
    room: String,
    /// Above the unit tests.
    text: String,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file under `src/` but the crate's root and files of tests alone.
fn sources() -> Vec<Source> {
    let (mut folders, mut found) = (vec![src()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            if path == src().join("lib.rs") || name == "tests.rs" || name.ends_with("_tests.rs") {
                continue;
            }
            let inner = path.strip_prefix(src()).unwrap();
            let room = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
            let text = fs::read_to_string(&path).unwrap();
            let (product, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            let (room, text) = (room.to_owned(), product.to_owned());
            found.push(Source { path, room, text });
        }
    }
    assert!(found.len() > 50, "the sources are not where they are expected");
    found
}
