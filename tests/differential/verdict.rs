//! One case's binlogs: what `rivulet decode` makes of them, held against everything else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use crate::expected::Expected;
use crate::harness::json::Json;
use crate::harness::process::{self, RIVULET};
use crate::harness::replay::{Change, Replay};
use crate::harness::server::Server;
use crate::harness::tables::Table;
use crate::record;
use crate::reference::{self, Cell, Row, Verdict};
use crate::scan;
use crate::script::Script;

/// The exit code for bytes that cannot be decoded.
const CANNOT_DECODE: i32 = 3;

/// What a right case came to.
pub struct Told {
    /// For people.
    pub said: String,
    /// For [`crate::record`].
    pub record: String,
}

/// Examines what the case has left in the server's logs.
pub fn of(server: &Server, script: &Script, expected: Expected) -> Result<Told, String> {
    let files = server.closed_logs();
    match expected {
        Expected::Right => right(server, script, &files, 0, true),
        Expected::RightWithout(rolled_back) => right(server, script, &files, rolled_back, true),
        Expected::RightButTables(_) => right(server, script, &files, 0, false),
        Expected::Refused(words) => refused(&files, words),
    }
}

/// All three ways to print it end with the same code and the same words, and none with a panic.
fn refused(files: &[PathBuf], words: &str) -> Result<Told, String> {
    let mut said = String::new();
    for arguments in [&["--format", "debezium"][..], &["--format", "text"], &["--stats"]] {
        let output = decode(arguments, files);
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.code() != Some(CANNOT_DECODE) {
            return Err(format!("{arguments:?}: {}: {said}", output.status));
        }
        if !said.contains(words) || said.contains("panicked") {
            return Err(format!("{arguments:?}: no word of `{words}`: {said}"));
        }
    }
    let record = record::of_error(&said);
    Ok(Told { said: format!("refused: {said}"), record })
}

fn right(
    server: &Server,
    script: &Script,
    files: &[PathBuf],
    rolled_back: usize,
    tables: bool,
) -> Result<Told, String> {
    let lines = decoded(&["--format", "debezium"], files)?;
    let lines = String::from_utf8(lines).map_err(|error| format!("not UTF-8: {error}"))?;
    let changes = Change::all(&lines);
    let mut rows = reference::rows(&server.binlog_text(files)?);
    if rolled_back > 0 {
        rows = committed(&changes, rows, rolled_back)?;
    }
    let printed = printed(&changes, &rows);
    if printed.len() > changes.len() || printed.last().is_some_and(|last| *last >= changes.len()) {
        return Err(format!("{} rows, by the server's decoder {}", changes.len(), rows.len()));
    }
    let those: Vec<_> = printed.iter().map(|index| &changes[*index]).collect();
    let compared = compare_changes(&those, &rows)?;
    let text = reference::rows(&decoded(&["--format", "text"], files)?);
    if text.len() != changes.len() {
        return Err(format!("text: {} rows, {} as JSON", text.len(), changes.len()));
    }
    let those: Vec<_> = printed.iter().map(|index| &text[*index]).collect();
    compare_text(&those, &rows)?;
    compare_stats(&decoded(&["--stats"], files)?, &changes, files)?;
    let mut said = format!("{} rows, {compared}", changes.len());
    if tables && script.metadata_full {
        said += &format!(", {} rows as by SELECT", compare_tables(server, script, &changes)?);
    }
    Ok(Told { said, record: record::of_lines(&lines, &changes) })
}

fn decode(arguments: &[&str], files: &[PathBuf]) -> Output {
    let files = files.iter().map(|file| file.to_str().expect("a UTF-8 path"));
    let all: Vec<_> =
        ["decode"].into_iter().chain(arguments.iter().copied()).chain(files).collect();
    process::run(RIVULET, &all)
}

fn decoded(arguments: &[&str], files: &[PathBuf]) -> Result<Vec<u8>, String> {
    let output = decode(arguments, files);
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("decode {arguments:?}: {}: {}", output.status, said.trim()))
}

/// How many values were compared, and how many the server's decoder does not tell, by reason.
#[derive(Default)]
struct Compared {
    equal: u64,
    untold: BTreeMap<&'static str, u64>,
    broken: u64,
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values equal", self.equal)?;
        for (reason, count) in &self.untold {
            write!(f, ", {count} untold ({reason})")?;
        }
        if self.broken > 0 {
            write!(f, ", {} rows cut short by the server's decoder", self.broken)?;
        }
        Ok(())
    }
}

/// The changes that the server's decoder prints: all, but for the rest of an event in which it gave up.
fn printed(changes: &[Change], rows: &[Row]) -> Vec<usize> {
    let mut indexes = Vec::new();
    let mut at = 0;
    for row in rows {
        indexes.push(at);
        at += 1;
        let Some(change) = changes.get(at - 1).filter(|_| row.broken) else { continue };
        let (file, offset, _) = &change.place;
        let same = |change: &&Change| (&change.place.0, &change.place.1) == (file, offset);
        at += changes[at..].iter().take_while(same).count();
    }
    // What is behind the last row the decoder does not know of at all.
    indexes.extend(at..changes.len());
    indexes
}

/// The server's decoder prints rows where they are written, also those that a ROLLBACK follows or that
/// an XA transaction only prepares: the rows of the lines, in the order of the lines, and so many left.
fn committed(
    changes: &[Change],
    mut rows: Vec<Row>,
    rolled_back: usize,
) -> Result<Vec<Row>, String> {
    let mut kept = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let same = |row: &Row| compare_row(change, row, &mut Compared::default()).is_ok();
        let Some(at) = rows.iter().position(same) else {
            return Err(format!("row {index}: not by the server's decoder: {change:?}"));
        };
        kept.push(rows.remove(at));
    }
    if rows.len() != rolled_back {
        return Err(format!("{} rows never came, {rolled_back} were rolled back", rows.len()));
    }
    Ok(kept)
}

/// Row by row in the order of the log: operation, table, and value by value.
fn compare_changes(changes: &[&Change], rows: &[Row]) -> Result<Compared, String> {
    let mut compared = Compared::default();
    for (index, (change, row)) in changes.iter().zip(rows).enumerate() {
        compare_row(change, row, &mut compared).map_err(|what| {
            format!("row {index} ({} {}.{}): {what}", row.operation, row.schema, row.table)
        })?;
    }
    if changes.len() != rows.len() {
        let (ours, theirs) = (changes.len(), rows.len());
        return Err(format!("{ours} rows, by the server's decoder {theirs}"));
    }
    Ok(compared)
}

fn compare_row(change: &Change, row: &Row, compared: &mut Compared) -> Result<(), String> {
    let ours = (change.operation.as_str(), &change.schema, &change.table);
    let theirs = (row.operation, &row.schema, &row.table);
    if ours != theirs {
        return Err(format!("{ours:?}, by the server's decoder {theirs:?}"));
    }
    let images = [(&change.before, &row.before), (&change.after, &row.after)];
    for (ours, theirs) in images {
        compare_image(ours, theirs.as_deref(), row.broken, compared)?;
    }
    compared.broken += u64::from(row.broken);
    Ok(())
}

fn compare_image(
    ours: &Json,
    theirs: Option<&[Cell]>,
    broken: bool,
    compared: &mut Compared,
) -> Result<(), String> {
    let Some(theirs) = theirs else {
        let fine = broken || *ours == Json::Null;
        return if fine { Ok(()) } else { Err(format!("an image too many: {ours:?}")) };
    };
    let members = ours.members();
    if members.len() != theirs.len() && !broken {
        return Err(format!("{} columns, by the decoder {}", members.len(), theirs.len()));
    }
    for ((name, value), cell) in members.iter().zip(theirs) {
        match cell.compare(value) {
            Verdict::Equal => compared.equal += 1,
            Verdict::Untold(reason) => *compared.untold.entry(reason).or_default() += 1,
            Verdict::Different => {
                let theirs =
                    String::from_utf8_lossy(&cell.text).chars().take(150).collect::<String>();
                let ours = format!("{value:?}").chars().take(150).collect::<String>();
                return Err(format!("{name} is {ours}, by the decoder {theirs} ({})", cell.kind));
            }
        }
    }
    Ok(())
}

/// The text has the decoder's rows, with as many columns, and NULL where it has NULL.
fn compare_text(ours: &[&Row], rows: &[Row]) -> Result<(), String> {
    for (index, (ours, theirs)) in ours.iter().zip(rows).enumerate() {
        let same = (ours.operation, &ours.schema, &ours.table)
            == (theirs.operation, &theirs.schema, &theirs.table);
        let nulls = |image: &Option<Vec<Cell>>| {
            image.as_ref().map(|image| image.iter().map(Cell::is_null).collect::<Vec<_>>())
        };
        let images = nulls(&ours.before) == nulls(&theirs.before)
            && nulls(&ours.after) == nulls(&theirs.after);
        if !same || ours.broken || !(images || theirs.broken) {
            let ours = format!("{ours:?}").chars().take(400).collect::<String>();
            let theirs = format!("{theirs:?}").chars().take(400).collect::<String>();
            return Err(format!("text: row {index}: {ours}, by the decoder {theirs}"));
        }
    }
    Ok(())
}

/// What `--stats` counts: events as a scan of the headers finds them, rows as the lines are.
fn compare_stats(stats: &[u8], changes: &[Change], files: &[PathBuf]) -> Result<(), String> {
    let stats = String::from_utf8_lossy(stats);
    let mut rows: BTreeMap<(String, &str), i128> = BTreeMap::new();
    let mut events = 0;
    for line in stats.lines() {
        let json = Json::parse(line);
        if json.at("complete") != Some(&Json::Bool(true)) {
            return Err(format!("stats: a whole file is called incomplete: {line}"));
        }
        let counts = json.at("events").map(Json::members).unwrap_or_default();
        events += counts.iter().filter_map(|(_, count)| count.whole()).sum::<i128>();
        for (table, counts) in json.at("rows").map(Json::members).unwrap_or_default() {
            for operation in ["insert", "update", "delete"] {
                let count = counts.at(operation).and_then(Json::whole).unwrap_or(0);
                *rows.entry((table.clone(), operation)).or_default() += count;
            }
        }
    }
    let scanned: u64 = scan::count(files).values().sum();
    if events != i128::from(scanned) {
        return Err(format!("stats: {events} events, by their headers {scanned}"));
    }
    for change in changes {
        let operation = match change.operation.as_str() {
            "c" => "insert",
            "u" => "update",
            _ => "delete",
        };
        let table = format!("{}.{}", change.schema, change.table);
        *rows.entry((table, operation)).or_default() -= 1;
    }
    match rows.iter().find(|(_, left)| **left != 0) {
        None => Ok(()),
        Some(((table, operation), left)) => {
            Err(format!("stats: {left} more {operation} of {table} than there are lines"))
        }
    }
}

/// What the lines make of empty tables is what the server's tables hold.
fn compare_tables(server: &Server, script: &Script, changes: &[Change]) -> Result<usize, String> {
    let tables = Table::all(server);
    let mut replay = Replay::default();
    replay.partial = script.name == "row_images";
    for change in changes {
        let table = tables.iter().find(|it| it.schema == change.schema && it.name == change.table);
        // A table that is gone by now has nothing to be compared with.
        if let Some(table) = table {
            replay.apply(change, table)?;
        }
    }
    tables.iter().map(|table| replay.compare(table, server)).sum()
}
