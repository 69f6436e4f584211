//! Debezium's lines, applied one after the other: what a consumer of the stream ends up with.

use std::collections::BTreeMap;

use super::json::Json;
use super::server::Server;
use super::tables::Table;

/// One line.
#[derive(Clone, Debug)]
pub struct Change {
    pub schema: String,
    pub table: String,
    /// `c`, `u`, `d`, `r` or `t`.
    pub operation: String,
    pub before: Json,
    pub after: Json,
    /// File, offset and row: what no two lines may share.
    pub place: (String, i128, i128),
    pub gtid: Option<String>,
}

impl Change {
    /// `None` for a line that is not a row's change (a transaction's begin or end, a heartbeat).
    pub fn parse(line: &str) -> Option<Self> {
        let json = Json::parse(line);
        let source = json.at("source")?;
        let text = |name: &str| source.at(name).and_then(Json::text).map(str::to_owned);
        let number = |name: &str| source.at(name).and_then(Json::whole).unwrap_or(0);
        Some(Self {
            schema: text("db")?,
            table: text("table")?,
            operation: json.at("op")?.text()?.to_owned(),
            before: json.at("before").cloned().unwrap_or(Json::Null),
            after: json.at("after").cloned().unwrap_or(Json::Null),
            place: (text("file").unwrap_or_default(), number("pos"), number("row")),
            gtid: text("gtid"),
        })
    }

    /// All changes among these lines.
    pub fn all(text: &str) -> Vec<Self> {
        text.lines().filter(|line| !line.is_empty()).filter_map(Self::parse).collect()
    }
}

/// Tables as the lines so far make them.
#[derive(Default)]
pub struct Replay {
    tables: BTreeMap<(String, String), Content>,
    /// Row images are not full (`binlog_row_image`): a column that no line named is not compared.
    pub partial: bool,
}

/// Rows by primary key; a table without one has its whole rows as keys.
#[derive(Default)]
struct Content {
    rows: BTreeMap<Vec<String>, Vec<Row>>,
}

/// One text per column; `None` where no line has said what it is.
type Row = Vec<Option<String>>;

impl Replay {
    /// Applies a line to the table as it is now. An error if it does not fit what was there: a row
    /// inserted twice, or one changed that is not there.
    pub fn apply(&mut self, change: &Change, table: &Table) -> Result<(), String> {
        let content = self.tables.entry((change.schema.clone(), change.table.clone())).or_default();
        let said = |what: String| format!("{}.{}: {what}: {change:?}", table.schema, table.name);
        match change.operation.as_str() {
            "c" | "r" => content.insert(table, row(&change.after, table)?).map_err(said),
            "d" => content.remove(table, &row(&change.before, table)?).map(drop).map_err(said),
            "u" => {
                let before = row(&change.before, table)?;
                let old = content.remove(table, &before).map_err(said)?;
                let mut new = row(&change.after, table)?;
                for (cell, old) in new.iter_mut().zip(old) {
                    if cell.is_none() {
                        *cell = old;
                    }
                }
                content.insert(table, new).map_err(said)
            }
            other => Err(format!("an operation `{other}`")),
        }
    }

    /// Compares a table with what the server holds; the number of rows if they are equal.
    pub fn compare(&self, table: &Table, server: &Server) -> Result<usize, String> {
        let empty = Content::default();
        let name = (table.schema.clone(), table.name.clone());
        let content = self.tables.get(&name).unwrap_or(&empty);
        let mut ours: Vec<&Row> = content.rows.values().flatten().collect();
        let wanted: Vec<Row> =
            table.rows(server).into_iter().map(|row| row.into_iter().map(Some).collect()).collect();
        let mut theirs: Vec<&Row> = wanted.iter().collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        let (schema, name) = name;
        if ours.len() != theirs.len() {
            let (ours, theirs) = (ours.len(), theirs.len());
            return Err(format!("{schema}.{name}: {ours} rows by the lines, {theirs} by SELECT"));
        }
        for (ours, theirs) in ours.iter().zip(&theirs) {
            for ((ours, theirs), column) in ours.iter().zip(theirs.iter()).zip(&table.columns) {
                let unsaid = self.partial && ours.is_none();
                if ours != theirs && !unsaid {
                    let (ours, theirs) = (shown(ours), shown(theirs));
                    let column = &column.name;
                    return Err(format!("{schema}.{name}.{column}: {ours}, by SELECT {theirs}"));
                }
            }
        }
        Ok(ours.len())
    }
}

impl Content {
    fn key(table: &Table, row: &Row) -> Result<Vec<String>, String> {
        if table.key.is_empty() {
            return Ok(row.iter().map(|cell| format!("{cell:?}")).collect());
        }
        let cell = |name: &String| {
            let at = table.columns.iter().position(|column| column.name == *name);
            let cell = at.and_then(|at| row.get(at)).cloned().flatten();
            cell.ok_or_else(|| format!("no value for the key's column {name}"))
        };
        table.key.iter().map(cell).collect()
    }

    fn insert(&mut self, table: &Table, row: Row) -> Result<(), String> {
        let rows = self.rows.entry(Self::key(table, &row)?).or_default();
        if !table.key.is_empty() && !rows.is_empty() {
            return Err("a row inserted twice".to_owned());
        }
        rows.push(row);
        Ok(())
    }

    fn remove(&mut self, table: &Table, row: &Row) -> Result<Row, String> {
        let key = Self::key(table, row)?;
        let rows = self.rows.get_mut(&key).ok_or("a row that is not there")?;
        let row = rows.pop().ok_or("a row that is not there")?;
        if rows.is_empty() {
            self.rows.remove(&key);
        }
        Ok(row)
    }
}

fn row(image: &Json, table: &Table) -> Result<Row, String> {
    for (name, _) in image.members() {
        if table.column(name).is_none() {
            return Err(format!("{}.{} has no column `{name}`", table.schema, table.name));
        }
    }
    let cell = |column: &super::tables::Column| {
        image.at(&column.name).map(|value| column.of_json(value)).transpose()
    };
    table.columns.iter().map(cell).collect()
}

fn shown(text: &Option<String>) -> String {
    let text = text.as_deref().unwrap_or("never said");
    text.chars().take(120).collect()
}
