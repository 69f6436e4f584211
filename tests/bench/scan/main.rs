//! SHELL: our side of the comparison with other decoders, as a process of its own: a binlog file, CRC checked,
//! split into columns, every value interpreted and touched.
//!
//! ```text
//!  scan count  LOG             every value interpreted; prints the number of rows
//!  scan split  LOG             rows split into columns only, as the edge does
//!  scan generate oltp|small LOG  makes a log without a server
//!  scan values LOG [--millis]  a line of plain text for each row image, as `tests/peers` writes it
//! ```

mod generated;
#[expect(dead_code, reason = "the bench uses the rest")]
#[path = "../log.rs"]
mod log;
mod plain;

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;

use generated::Kind;
use log::Item;
use rivulet::binlog::rows::Cell;
use rivulet::binlog::table::{Column, Table};
use rivulet::binlog::value::{self, Json, Value};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["count", log] => count(log),
        ["split", log] => split(log),
        ["generate", "oltp", log] => generate(log, Kind::Oltp, 800),
        ["generate", "small", log] => generate(log, Kind::Small, 1600),
        ["values", log, options @ ..] => values(log, options.contains(&"--millis")),
        _ => Err("count LOG | split LOG | generate oltp|small LOG | values LOG [--millis]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(log: &str, kind: Kind, transactions: u32) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(log, generated::log(kind, transactions))?)
}

fn split(log: &str) -> Result<(), Box<dyn Error>> {
    let mut rows = 0_u64;
    log::each(File::open(log)?, |item| {
        if let Item::Row(before, after, _) = item {
            black_box((before, after));
            rows += 1;
        }
    })?;
    println!("{rows}");
    Ok(())
}

fn count(log: &str) -> Result<(), Box<dyn Error>> {
    let (mut rows, mut json) = (0_u64, Default::default());
    interpret(
        log,
        |value| match value {
            // Its text is made, as the peers must.
            Value::Json(binary @ Json::Binary(_)) => {
                binary.render(&mut json).expect("a server wrote it");
                black_box(&json);
                json.clear();
            }
            value => {
                black_box(value);
            }
        },
        |_, end| rows += u64::from(end),
    )?;
    println!("{rows}");
    Ok(())
}

fn values(log: &str, millis: bool) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(stdout());
    let line = std::cell::RefCell::new(Vec::new());
    interpret(
        log,
        |value| {
            let mut line = line.borrow_mut();
            plain::push(value, millis, &mut line);
            line.push(b'|');
        },
        |image, _| {
            if image {
                let mut line = line.borrow_mut();
                line.push(b'\n');
                out.write_all(&line).expect("standard output can be written");
                line.clear();
            }
        },
    )?;
    Ok(out.flush()?)
}

/// Hands out every value, and behind those of an image and of a row (which image it was, whether the row ends).
fn interpret(
    log: &str,
    mut take: impl FnMut(&Value<'_>),
    mut end: impl FnMut(bool, bool),
) -> Result<(), Box<dyn Error>> {
    let mut table = None;
    log::each(File::open(log)?, |item| match item {
        Item::Rows(_, of) => table = Some(std::sync::Arc::clone(of)),
        Item::Row(before, after, _) => {
            let table: &Table = table.as_ref().expect("rows come after their event");
            for image in [before, after] {
                for (column, cell) in table.columns.iter().zip(image) {
                    value(column, cell, &mut take);
                }
                end(!image.is_empty(), false);
            }
            end(false, true);
        }
        Item::Begin(_) | Item::Commit(_) => {}
    })
}

#[inline]
fn value(column: &Column, cell: &Cell<'_>, take: &mut impl FnMut(&Value<'_>)) {
    match cell {
        Cell::Value(bytes) => match &value::decode(column, bytes) {
            Ok(value) => take(value),
            Err(error) => panic!("a server wrote it: {error}"),
        },
        // The logs have whole images.
        _ => take(&plain::NULL),
    }
}
