//! Other decoders of binlog files, each read with its own means, for `make bench` to compare with.
//!
//! ```text
//!  peers count  PEER LOG             every row, every value made and touched; prints the number of rows
//!  peers values PEER LOG [--millis]  a line of plain text for each row image
//!  peers measure PROGRAM ARGUMENT…   runs it, and prints its CPU seconds, peak memory and exit code
//! ```
//!
//! | plain text of | is |
//! |---|---|
//! | NULL | `~` |
//! | an integer, ENUM, SET | its number; signed, for not every peer knows the sign |
//! | FLOAT, DOUBLE | its bits |
//! | TIMESTAMP | seconds, and six digits behind a point unless they are zero |
//! | DATETIME | `2026-01-31 23:59:59.000000` |
//! | JSON of MySQL | compact, its members by name |
//! | anything else | its bytes, without control characters and `\|` |
//!
//! With `--millis` all below a millisecond is zero, for mysql_cdc knows no more.

mod connector;
mod measure;
mod mysql_cdc;
mod mysql_common;
mod plain;

use std::process::ExitCode;

use plain::{Count, Lines, Take};

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["measure", program, arguments @ ..] => measure::run(program, arguments),
        ["count", peer, log] => {
            let mut count = Count::default();
            let outcome = read(peer, log, &mut count);
            println!("{}", count.rows);
            outcome
        }
        ["values", peer, log, options @ ..] => {
            let mut lines = Lines::new(options.contains(&"--millis"));
            let outcome = read(peer, log, &mut lines);
            lines.finish();
            outcome
        }
        _ => Err("count PEER LOG | values PEER LOG [--millis] | measure PROGRAM …".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read(peer: &str, log: &str, take: &mut impl Take) -> Outcome {
    match peer {
        "mysql_common" => mysql_common::read(log, take),
        "mysql_cdc" => mysql_cdc::read(log, take),
        "mysql-binlog-connector-rust" => connector::read(log, take),
        _ => Err(format!("no peer is called {peer}")),
    }
}
