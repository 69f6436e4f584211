//! What happened in the open transaction, from its start and from each savepoint on.

use std::collections::BTreeMap;

use super::Counts;
use crate::binlog::transaction::SAVEPOINTS_MAX;

/// Its start and its savepoints, the newest last; empty if no transaction is open.
#[derive(Default)]
pub(super) struct Levels(Vec<Level>);

/// A place to which the transaction can be taken back, and the rows from there to the next one.
#[derive(Default)]
struct Level {
    name: Vec<u8>,
    at: Lengths,
    rows: BTreeMap<String, Counts>,
}

/// How much was held there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Lengths {
    /// Of the lines.
    pub(super) lines: u64,
    /// Of the events.
    pub(super) events: u64,
}

impl Levels {
    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        self.0.clear();
        self.0.push(Level::default());
    }

    /// No transaction is open.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Where rows are counted now.
    pub(super) fn rows(&mut self) -> Option<&mut BTreeMap<String, Counts>> {
        self.0.last_mut().map(|level| &mut level.rows)
    }

    /// A savepoint. One of the same name, or else the oldest of too many, is forgotten.
    pub(super) fn savepoint(&mut self, name: Vec<u8>, at: Lengths) {
        if let Some(index) = self.find(&name) {
            self.forget(index);
        } else if self.0.len() > SAVEPOINTS_MAX {
            self.forget(1);
        }
        self.0.push(Level { name, at, rows: BTreeMap::new() });
    }

    /// What was held at the savepoint, which is the newest from now on; `None` if there is none.
    pub(super) fn back_to(&mut self, name: &[u8]) -> Option<Lengths> {
        let index = self.find(name)?;
        self.0.truncate(index + 1);
        let level = self.0.last_mut()?;
        level.rows.clear();
        Some(level.at)
    }

    /// The rows of all; nothing is left.
    pub(super) fn take(&mut self) -> BTreeMap<String, Counts> {
        let mut rows = BTreeMap::new();
        self.0.drain(..).for_each(|level| join(&mut rows, level.rows));
        rows
    }

    /// The first level is no savepoint.
    fn find(&self, name: &[u8]) -> Option<usize> {
        let found = self.0.iter().skip(1).position(|level| level.name == name);
        found.map(|index| index + 1)
    }

    /// Its rows belong to the one before it, then.
    fn forget(&mut self, index: usize) {
        let level = self.0.remove(index);
        if let Some(before) = index.checked_sub(1).and_then(|before| self.0.get_mut(before)) {
            join(&mut before.rows, level.rows);
        }
    }
}

/// Adds counts to counts.
pub(super) fn join(to: &mut BTreeMap<String, Counts>, from: BTreeMap<String, Counts>) {
    for (name, counts) in from {
        to.entry(name).or_default().join(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(levels: &mut Levels) {
        levels.rows().unwrap().entry("t".to_owned()).or_default().insert += 1;
    }

    fn set(levels: &mut Levels, name: &str, lines: u64) {
        levels.savepoint(name.as_bytes().to_vec(), Lengths { lines, events: 0 });
        row(levels);
    }

    #[test]
    fn going_back_takes_rows_along_and_a_name_means_its_newest_place() {
        let mut levels = Levels::default();
        levels.begin();
        row(&mut levels);
        for (lines, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            set(&mut levels, name, lines);
        }
        assert_eq!(levels.back_to(b"a"), Some(Lengths { lines: 3, events: 0 }));
        assert_eq!(levels.back_to(b"c"), None);
        assert_eq!(levels.back_to(b"b"), Some(Lengths { lines: 2, events: 0 }));
        assert_eq!(levels.back_to(b"a"), None);
        assert_eq!(levels.take()["t"].insert, 2);
    }

    #[test]
    fn a_savepoint_for_each_row_takes_no_more_memory() {
        let mut levels = Levels::default();
        levels.begin();
        for number in 0..100_000 {
            set(&mut levels, "s", number);
        }
        assert_eq!(levels.0.len(), 2);
        for number in 0..5000 {
            set(&mut levels, &number.to_string(), number);
        }
        assert_eq!(levels.0.len(), SAVEPOINTS_MAX + 1);
        assert_eq!(levels.back_to(b"3999"), None);
        assert!(levels.back_to(b"4000").is_some());
        assert_eq!(levels.take()["t"].insert, 104_000);
    }
}
