//! A random table, and random DDL on it.

use std::sync::Arc;

use super::chance::Chance;
use super::column::{Column, Kind};
use super::kind::Types;
use crate::harness::tables::backquoted;

/// The schema of all random tables.
pub const SCHEMA: &str = "rnd";

/// A table as the generator knows it.
#[derive(Clone)]
pub struct Table {
    pub name: String,
    pub columns: Arc<Vec<Column>>,
    /// Columns of the primary or a unique key.
    pub key: Vec<String>,
    pub transactional: bool,
    /// Rows at the last look.
    pub rows: usize,
    /// Changed since then.
    pub dirty: bool,
    next_column: usize,
}

/// A statement that changes a table's shape, and the table behind it; `None` where it is gone.
pub struct Ddl {
    pub statement: String,
    pub after: Option<Table>,
}

const ODD_NAMES: [&str; 8] = ["ü", "a b", "select", "x`y", "日本", "a.b", "A", "$1"];

/// CREATE TABLE.
pub fn create(number: usize, types: &Types, chance: &mut Chance) -> Ddl {
    let odd = if chance.percent(20) { *chance.of(&ODD_NAMES) } else { "" };
    let count = 1 + chance.below(12);
    let mut next_column = 0;
    let mut columns: Vec<Column> = Vec::new();
    for _ in 0..count {
        columns.push(types.column(column_name(&mut next_column, chance), chance));
    }
    if chance.percent(15) {
        let whole = columns.iter().find(|it| matches!(it.kind, Kind::Int { .. })).cloned();
        let base = whole.unwrap_or_else(|| columns[0].clone());
        let name = column_name(&mut next_column, chance);
        let at = chance.below(columns.len() + 1);
        columns.insert(at, generated(name, &base, chance));
    }
    let (key, clause) = key(&mut columns, chance);
    let engine = *chance.of(&["innodb", "innodb", "innodb", "innodb", "innodb", "myisam"]);
    let mut parts: Vec<String> = columns.iter().map(defined).collect();
    parts.extend(clause);
    let table = Table {
        name: format!("t{number}{odd}"),
        columns: Arc::new(columns),
        key,
        transactional: engine == "innodb",
        rows: 0,
        dirty: false,
        next_column,
    };
    let statement = format!("create table {} ({}) engine={engine}", table.path(), parts.join(", "));
    Ddl { statement, after: Some(table) }
}

fn column_name(next: &mut usize, chance: &mut Chance) -> String {
    *next += 1;
    let odd = if chance.percent(10) { *chance.of(&ODD_NAMES) } else { "" };
    format!("c{next}{odd}")
}

fn defined(column: &Column) -> String {
    format!("{} {}", backquoted(&column.name), column.definition)
}

fn generated(name: String, base: &Column, chance: &mut Chance) -> Column {
    let kept = *chance.of(&["virtual", "stored"]);
    let base = backquoted(&base.name);
    let (kind, definition) = if chance.percent(50) {
        let kind = Kind::Int { bits: 32, unsigned: false };
        (kind, format!("int generated always as (if({base} is null,1,2)) {kept}"))
    } else {
        let kind = Kind::Text { charset: "latin1".to_owned(), length: 20 };
        let text = "varchar(20) character set latin1 collate latin1_bin";
        (kind, format!("{text} generated always as (if({base} is null,'none','é')) {kept}"))
    };
    Column { name, kind, definition, nullable: true, generated: true }
}

/// The key's columns, and how it is said.
fn key(columns: &mut Vec<Column>, chance: &mut Chance) -> (Vec<String>, Option<String>) {
    let can: Vec<String> =
        columns.iter().filter(|it| it.can_be_key()).map(|it| it.name.clone()).collect();
    let style = chance.below(10);
    if style < 2 || can.is_empty() && style > 6 {
        return (Vec::new(), None);
    }
    if style < 7 || can.is_empty() {
        let definition = "int unsigned not null auto_increment primary key".to_owned();
        let kind = Kind::Int { bits: 32, unsigned: true };
        let id =
            Column { name: "id".to_owned(), kind, definition, nullable: false, generated: true };
        let at = if chance.percent(80) { 0 } else { chance.below(columns.len() + 1) };
        columns.insert(at, id);
        return (vec!["id".to_owned()], None);
    }
    let mut names = chance.some(&can);
    names.truncate(3);
    let list = names.iter().map(|name| backquoted(name)).collect::<Vec<_>>().join(",");
    let unique = chance.percent(30);
    for column in columns.iter_mut().filter(|it| names.contains(&it.name)) {
        column.nullable = false;
        column.definition =
            column.definition.replace(" null", " not null").replace(" not not", " not");
    }
    (names, Some(format!("{} key ({list})", if unique { "unique" } else { "primary" })))
}

impl Table {
    pub fn path(&self) -> String {
        format!("{SCHEMA}.{}", backquoted(&self.name))
    }

    /// What can be written to.
    pub fn writable(&self) -> Vec<Column> {
        self.columns.iter().filter(|column| !column.generated).cloned().collect()
    }

    /// A random change of its shape.
    pub fn alter(&self, number: usize, types: &Types, chance: &mut Chance) -> Ddl {
        let path = self.path();
        let mut after = self.clone();
        let mut columns = self.columns.to_vec();
        let statement = match chance.below(12) {
            0..=3 => {
                let added = types.column(column_name(&mut after.next_column, chance), chance);
                let (at, place) = place(&columns, None, chance);
                let text = format!("alter table {path} add column {}{place}", defined(&added));
                columns.insert(at, added);
                text
            }
            4 | 5 => {
                let index = chance.below(columns.len());
                let gone = columns.remove(index);
                format!("alter table {path} drop column {}", backquoted(&gone.name))
            }
            6 | 7 => {
                let index = chance.below(columns.len());
                let name = columns[index].name.clone();
                let changed = types.column(name, chance);
                columns.remove(index);
                let (at, place) = place(&columns, Some(index), chance);
                let text = format!("alter table {path} modify column {}{place}", defined(&changed));
                columns.insert(at, changed);
                text
            }
            8 => {
                let index = chance.below(columns.len());
                let new = column_name(&mut after.next_column, chance);
                let old = std::mem::replace(&mut columns[index].name, new.clone());
                let (old, new) = (backquoted(&old), backquoted(&new));
                format!("alter table {path} rename column {old} to {new}")
            }
            9 => {
                after.name = format!("t{number}r");
                format!("rename table {path} to {}", after.path())
            }
            10 => format!("truncate table {path}"),
            _ => {
                let engine = *chance.of(&["innodb", "myisam", "innodb"]);
                after.transactional = engine == "innodb";
                format!("alter table {path} engine={engine}")
            }
        };
        // What is a key by now decides only which statements are tried.
        let left = |name: &String| columns.iter().any(|column| column.name == *name);
        after.key.retain(left);
        after.columns = Arc::new(columns);
        Ddl { statement, after: Some(after) }
    }

    pub fn drop(&self) -> Ddl {
        Ddl { statement: format!("drop table {}", self.path()), after: None }
    }

    /// SELECT of all rows, every value as the texts that its column is compared by.
    pub fn select(&self) -> String {
        let list: Vec<String> = self.columns.iter().flat_map(Column::expressions).collect();
        format!("select {} from {}", list.join(","), self.path())
    }
}

/// Where a column goes among these: its index, and the words for it. Without words it stays where it
/// is, or becomes the last.
fn place(columns: &[Column], stay: Option<usize>, chance: &mut Chance) -> (usize, String) {
    match chance.below(3) {
        0 => (0, " first".to_owned()),
        1 if !columns.is_empty() => {
            let index = chance.below(columns.len());
            (index + 1, format!(" after {}", backquoted(&columns[index].name)))
        }
        _ => (stay.unwrap_or(columns.len()), String::new()),
    }
}
