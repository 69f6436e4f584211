//! Whether source and centre agree, row for row, and whether the lines are each there once, in order.

use std::collections::HashSet;
use std::time::Duration;

use super::pipeline::Pipeline;
use super::process::wait_until;
use super::replay::{Change, Replay};
use super::server::Server;
use super::tables::Table;

/// What was held against each other.
pub struct Agreement {
    pub lines: usize,
    pub rows: usize,
}

/// Waits until a line with this text has arrived.
pub fn wait_for(pipeline: &mut Pipeline, mark: &str, patience: Duration) {
    let wanted = format!("\"{mark}\"");
    wait_until(&format!("{mark} at the centre"), patience, || {
        pipeline.agent().must_run();
        pipeline.collector().must_run();
        pipeline.lines().contains(&wanted)
    });
}

/// Holds everything that the sink has against the source: as many lines as `changes`, none twice, in
/// the order of the source's transactions, and in the end the source's tables.
pub fn check(server: &Server, lines: &str, changes: u64) -> Result<Agreement, String> {
    let all = Change::all(lines);
    let mut places = HashSet::new();
    let mut last = (String::new(), 0, 0);
    for change in &all {
        if !places.insert(&change.place) {
            return Err(format!("twice: {change:?}"));
        }
        if change.place <= last {
            return Err(format!("after {last:?} came {change:?}"));
        }
        last.clone_from(&change.place);
    }
    if all.len() as u64 != changes {
        return Err(format!("{} lines for {changes} changes", all.len()));
    }
    let tables = Table::all(server);
    let mut replay = Replay::default();
    for change in &all {
        let table = tables.iter().find(|it| it.schema == change.schema && it.name == change.table);
        let table = table.ok_or_else(|| format!("no such table: {change:?}"))?;
        replay.apply(change, table)?;
    }
    let mut rows = 0;
    for table in &tables {
        rows += replay.compare(table, server)?;
    }
    Ok(Agreement { lines: all.len(), rows })
}
