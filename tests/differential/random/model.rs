//! Tables as the log makes them, held against SELECT.
//!
//! A row is found by its before image alone: whatever the image has must be what the row has. So
//! before images are compared too, and tables need no key.

use std::sync::Arc;

use super::column::{Column, Truth};
use super::got::{Got, Knows};
use super::truth::Seen;

/// A row image; `None` is what the image does not have.
pub type Image = Vec<Option<Got>>;

/// One row's change.
pub struct Change {
    pub before: Option<Image>,
    pub after: Option<Image>,
}

/// What a row has in one column.
#[derive(Clone, Debug)]
enum Cell {
    Unsaid,
    Said(Got),
    Shown(Truth),
}

struct Row {
    cells: Vec<Cell>,
    /// Changed since the last look.
    fresh: bool,
}

/// One table.
pub struct Model {
    columns: Arc<Vec<Column>>,
    rows: Vec<Row>,
    /// The columns' names in the log.
    names: Vec<String>,
    knows: Knows,
    /// Something did not fit: until the next look nothing can be said.
    lost: bool,
}

/// How two rows differ: column by column, ours and theirs.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Alike differences have alike words here.
    pub kind: String,
    pub what: String,
}

/// What a comparison gave.
#[derive(Default)]
pub struct Outcome {
    pub values: u64,
    pub differences: Vec<Difference>,
}

impl Model {
    pub fn new() -> Self {
        let (columns, rows, names) = (Arc::new(Vec::new()), Vec::new(), Vec::new());
        Self { columns, rows, names, knows: Knows::Types, lost: false }
    }

    /// What the log says of the table behind this point.
    pub fn describe(&mut self, names: &[String], knows: Knows) {
        if self.names != names {
            self.names = names.to_vec();
        }
        self.knows = knows;
    }

    pub fn apply(&mut self, mut change: Change, outcome: &mut Outcome) {
        if self.lost {
            return;
        }
        for image in [&mut change.before, &mut change.after].into_iter().flatten() {
            self.leave_hidden(image);
        }
        let mut cells: Vec<Cell> = Vec::new();
        if let Some(before) = &change.before {
            let Some(index) = self.find(before) else {
                self.lost = true;
                outcome.differences.push(self.not_there(before));
                return;
            };
            outcome.values += before.iter().flatten().count() as u64;
            cells = self.rows.swap_remove(index).cells;
        }
        let Some(after) = change.after else { return };
        cells.resize(after.len(), Cell::Unsaid);
        for (cell, said) in cells.iter_mut().zip(after) {
            if let Some(said) = said {
                *cell = Cell::Said(said);
            }
        }
        self.rows.push(Row { cells, fresh: true });
    }

    /// Without names nobody can tell a hidden column of MariaDB's (`Meaning::Hidden`) from a last BIGINT.
    fn leave_hidden(&self, image: &mut Image) {
        let hidden = |it: &Option<Got>| {
            matches!(it, None | Some(Got::Null | Got::Unsure(..) | Got::Plain(_)))
        };
        while self.knows == Knows::Types
            && image.len() > self.columns.len()
            && image.last().is_some_and(hidden)
        {
            image.pop();
        }
    }

    /// The row that has what the image has; one of which all is known before one of which not.
    fn find(&self, before: &Image) -> Option<usize> {
        let fits = |unsaid: bool| {
            self.rows.iter().position(|row| {
                row.cells.len() == before.len()
                    && row.cells.iter().zip(before).enumerate().all(|(index, (cell, said))| {
                        said.as_ref().is_none_or(|said| self.same(index, cell, said, unsaid))
                    })
            })
        };
        fits(false).or_else(|| fits(true))
    }

    fn same(&self, index: usize, cell: &Cell, said: &Got, unsaid: bool) -> bool {
        match cell {
            Cell::Unsaid => unsaid,
            Cell::Said(known) => known == said,
            Cell::Shown(truth) => self
                .columns
                .get(index)
                .is_some_and(|column| said.agrees(&column.kind, truth, self.knows)),
        }
    }

    fn not_there(&self, before: &Image) -> Difference {
        let differs = |row: &Row| -> Vec<usize> {
            let pairs = row.cells.iter().zip(before).enumerate();
            let other = |(index, (cell, said)): &(usize, (&Cell, &Option<Got>))| {
                said.as_ref().is_some_and(|said| !self.same(*index, cell, said, true))
            };
            pairs.filter(other).map(|(index, _)| index).collect()
        };
        let nearest = self.rows.iter().min_by_key(|row| differs(row).len());
        let Some(row) = nearest else {
            let what = format!("a before image of an empty table: {before:?}");
            return Difference { kind: "before image of no row".to_owned(), what: cut(&what) };
        };
        let mut difference = Difference { kind: "before image".to_owned(), what: String::new() };
        if row.cells.len() != before.len() {
            difference.kind += ": number of columns";
        }
        for index in differs(row) {
            let definition = self.columns.get(index).map_or("?", |column| &column.definition);
            difference.kind += &format!(", {}", family(definition));
            let (had, said) = (&row.cells[index], &before[index]);
            difference.what += &format!("{definition}: was {}, ", cut(&format!("{had:?}")));
            difference.what += &format!("before image {}; ", cut(&format!("{said:?}")));
        }
        difference
    }

    /// Holds all rows against what SELECT showed, and from then on is what it showed.
    pub fn look(&mut self, seen: &Seen, columns: &Arc<Vec<Column>>, outcome: &mut Outcome) {
        self.columns = Arc::clone(columns);
        if !seen.altered && !self.lost {
            self.compare(seen, outcome);
        }
        self.lost = false;
        if seen.altered {
            self.names.clear();
        }
        let shown = |row: &Vec<Truth>| Row {
            cells: row.iter().cloned().map(Cell::Shown).collect(),
            fresh: false,
        };
        self.rows = seen.rows.iter().map(shown).collect();
    }

    fn compare(&self, seen: &Seen, outcome: &mut Outcome) {
        let table = format!("{}.{}", seen.schema, seen.name);
        let logged = self.names.iter().any(|name| !name.starts_with('@'));
        let alike = self.names.len() == self.columns.len()
            && self.names.iter().zip(self.columns.iter()).all(|(a, b)| *a == b.name);
        if logged && !alike {
            let names: Vec<_> = self.columns.iter().map(|column| &column.name).collect();
            let what = format!("{table}: names {:?}, by SELECT {names:?}", self.names);
            outcome.differences.push(Difference { kind: "names".to_owned(), what });
        }
        if self.rows.len() != seen.rows.len() {
            let what = format!("{table}: {} rows, by SELECT {}", self.rows.len(), seen.rows.len());
            outcome.differences.push(Difference { kind: "number of rows".to_owned(), what });
            return;
        }
        let mut left: Vec<&Vec<Truth>> = seen.rows.iter().collect();
        let (whole, part): (Vec<&Row>, Vec<&Row>) = self
            .rows
            .iter()
            .partition(|row| !row.cells.iter().any(|it| matches!(it, Cell::Unsaid)));
        let mut unmatched = Vec::new();
        for row in whole.into_iter().chain(part) {
            match left.iter().position(|truth| self.differing(row, truth, seen.partial).is_none()) {
                Some(index) => {
                    left.swap_remove(index);
                    let said = row.cells.iter().filter(|it| matches!(it, Cell::Said(_)));
                    outcome.values += if row.fresh { said.count() as u64 } else { 0 };
                }
                None => unmatched.push(row),
            }
        }
        for row in unmatched {
            outcome.differences.push(self.explain(row, &left, seen));
        }
    }

    /// The first column in which they differ.
    fn differing(&self, row: &Row, truth: &[Truth], partial: bool) -> Option<usize> {
        if row.cells.len() != truth.len() {
            return Some(0);
        }
        (0..truth.len()).find(|index| !self.equal(row, truth, *index, partial))
    }

    fn equal(&self, row: &Row, truth: &[Truth], index: usize, partial: bool) -> bool {
        match (&row.cells[index], &truth[index]) {
            (Cell::Unsaid, _) => partial,
            (Cell::Said(said), truth) => said.agrees(&self.columns[index].kind, truth, self.knows),
            // What a column computes is in no image that is not full.
            (Cell::Shown(_), _) if partial && self.columns[index].is_computed() => true,
            (Cell::Shown(shown), truth) => shown == truth,
        }
    }

    fn explain(&self, row: &Row, left: &[&Vec<Truth>], seen: &Seen) -> Difference {
        let count = |truth: &[Truth]| {
            let same = |index: &usize| {
                row.cells.len() == truth.len() && self.equal(row, truth, *index, seen.partial)
            };
            (0..truth.len()).filter(same).count()
        };
        let nearest = left.iter().max_by_key(|truth| count(truth)).expect("as many rows as ours");
        let mut difference = Difference { kind: "value".to_owned(), what: String::new() };
        if row.cells.len() != nearest.len() {
            let (ours, theirs) = (row.cells.len(), nearest.len());
            difference.kind = "number of columns".to_owned();
            difference.what = format!("{ours} columns, by SELECT {theirs}");
            return difference;
        }
        for index in 0..nearest.len() {
            if self.equal(row, nearest, index, seen.partial) {
                continue;
            }
            let definition = &self.columns[index].definition;
            difference.kind += &format!(", {}", family(definition));
            let (ours, theirs) = (&row.cells[index], &nearest[index]);
            difference.what += &format!("{definition}: {}, ", cut(&format!("{ours:?}")));
            difference.what += &format!("by SELECT {}; ", cut(&format!("{theirs:?}")));
        }
        difference
    }
}

/// A definition without its numbers and members: what is likely to be wrong in the same way.
fn family(definition: &str) -> String {
    let definition = definition.split(" collate").next().unwrap_or(definition);
    let mut text = String::new();
    let mut depth = 0;
    for c in definition.chars() {
        depth += i32::from(c == '(');
        if depth == 0 {
            text.push(c);
        }
        depth -= i32::from(c == ')');
    }
    text
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(260) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
