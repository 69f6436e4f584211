//! What a table map leaves unsaid: information_schema's columns, checked one by one against what the log
//! does say. No I/O.
//!
//! A table map may lack the names. Even with them MariaDB's does not tell JSON, UUID, INET4, INET6 and VECTOR
//! from plain strings, nor how many digits an old temporal column has: `leaves_unsaid`.
//!
//! The check is a proof against another table or another count, type, length, sign, nullability or
//! character set of any column. It cannot see two columns of one type that changed names: that is
//! what `source::schema` guards against.

use std::fmt;

use crate::binlog::old_temporal;
use crate::binlog::table::{Column, Kind, Meaning, Names, Table};

/// A column as information_schema describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ColumnInfo {
    /// COLUMN_NAME.
    pub name: String,
    /// COLUMN_TYPE: `int(10) unsigned`, `enum('a','b')`, …
    pub column_type: String,
    /// IS_NULLABLE.
    pub nullable: bool,
    /// The id of COLLATION_NAME; `None` for columns without characters, or if it was not found.
    pub collation: Option<u16>,
    /// CHARACTER_OCTET_LENGTH, bytes.
    pub octets: Option<u64>,
    /// From 1: the place in the primary key.
    pub key_position: Option<u16>,
    /// MariaDB: a CHECK says `json_valid(column)`.
    pub json: bool,
    /// Not INVISIBLE.
    pub visible: bool,
    /// [`Meaning::Hidden`]: in no view, but in the log.
    pub hidden: bool,
}

/// Completes a table that the log left without names; with names, only what they may mean.
///
/// # Errors
/// The columns are provably not those that the rows were written with; `table` is as it was.
pub fn complete(table: &mut Table, columns: &[ColumnInfo]) -> Result<(), Mismatch> {
    if table.columns.len() != columns.len() {
        return Err(Mismatch::Count { log: table.columns.len(), server: columns.len() });
    }
    let mut done = Vec::with_capacity(columns.len());
    for (index, (column, info)) in table.columns.iter().zip(columns).enumerate() {
        if table.names == Names::Log && column.name != info.name && !info.hidden {
            return Err(Mismatch::Column {
                index,
                name: info.name.clone(),
                what: "the log calls it otherwise",
            });
        }
        let found = complete_column(column, info).map_err(|what| Mismatch::Column {
            index,
            name: info.name.clone(),
            what,
        })?;
        done.push(found);
    }
    table.columns = done;
    if table.names == Names::Log {
        return Ok(());
    }
    let mut key: Vec<(u16, u16)> = columns
        .iter()
        .zip(0..)
        .filter_map(|(info, index)| Some((info.key_position?, index)))
        .collect();
    key.sort_unstable();
    table.primary_key = key.into_iter().map(|(_, index)| index).collect();
    table.names = Names::Server;
    Ok(())
}

fn complete_column(column: &Column, info: &ColumnInfo) -> Result<Column, &'static str> {
    if info.hidden {
        let hash = column.kind == Kind::LongLong;
        let (meaning, unsigned) = (Meaning::Hidden, Some(true));
        let name = info.name.clone();
        let done = Column { name, unsigned, meaning, visible: false, ..column.clone() };
        return if hash { Ok(done) } else { Err("the types differ") };
    }
    let declared = Declared::parse(&info.column_type).ok_or("its type text is not understood")?;
    let meaning = check_kind(column, &declared, info)?;
    if column.nullable != info.nullable {
        return Err("NULL is allowed in one and not in the other");
    }
    let mut done = column.clone();
    if old_temporal::is_unproven(column) {
        let digits = declared.numbers.first().copied().unwrap_or(0);
        done.meta = u16::try_from(digits).ok().filter(|digits| *digits <= 6).ok_or(TOO_MANY)?;
    }
    if is_number(column.kind) {
        if column.unsigned.is_some_and(|unsigned| unsigned != declared.unsigned) {
            return Err("one is UNSIGNED and the other is not");
        }
        done.unsigned = Some(declared.unsigned);
    }
    if has_collation(column.kind) && meaning != Meaning::Vector {
        let collation = match info.collation {
            Some(collation) => collation,
            None if TEXT.contains(&declared.base.as_str()) => {
                return Err("its collation is not known");
            }
            None => BINARY,
        };
        if column.collation.is_some_and(|log| log != collation) {
            return Err("the collations differ");
        }
        // MariaDB's own types are strings of bytes in the log, whatever they show as.
        let plain = matches!(meaning, Meaning::Plain | Meaning::Json);
        done.collation = Some(if plain { collation } else { BINARY });
    }
    if done.labels.is_empty() {
        done.labels = declared.labels;
    }
    done.name.clone_from(&info.name);
    done.visible = info.visible;
    done.meaning = meaning;
    Ok(done)
}

/// Declared types that have a collation.
const TEXT: [&str; 8] =
    ["char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"];

const TOO_MANY: &str = "it has more than 6 digits";

/// Whether the server may know more of a table of MariaDB's than a table map with names says.
pub(super) fn leaves_unsaid(table: &Table) -> bool {
    table.columns.iter().any(|column| match (column.kind, column.meta) {
        (Kind::Blob, 4) => column.collation != Some(BINARY),
        (Kind::String, 4 | 16) | (Kind::Varchar, _) => column.collation == Some(BINARY),
        _ => old_temporal::is_unproven(column),
    })
}

/// The collation of bytes.
const BINARY: u16 = 63;

fn is_number(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Tiny
            | Kind::Short
            | Kind::Int24
            | Kind::Long
            | Kind::LongLong
            | Kind::Float
            | Kind::Double
            | Kind::NewDecimal
    )
}

fn has_collation(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::String
            | Kind::VarString
            | Kind::Varchar
            | Kind::VarcharCompressed
            | Kind::Blob
            | Kind::BlobCompressed
            | Kind::Enum
            | Kind::Set
    )
}

/// Whether the log's type is what the server declares; and what it means.
fn check_kind(
    column: &Column,
    declared: &Declared,
    info: &ColumnInfo,
) -> Result<Meaning, &'static str> {
    const TYPE: &str = "the types differ";
    const LENGTH: &str = "the lengths differ";
    let numbers = declared.numbers.as_slice();
    let (kind, meta) = (column.kind, column.meta);
    let length = |expected: u64| if u64::from(meta) == expected { Ok(()) } else { Err(LENGTH) };
    let octets = || length(info.octets.unwrap_or(u64::MAX));
    let fraction = || length(numbers.first().copied().unwrap_or(0));
    match (declared.base.as_str(), kind) {
        ("tinyint", Kind::Tiny) | ("smallint", Kind::Short) | ("mediumint", Kind::Int24) => {}
        ("int", Kind::Long) | ("bigint", Kind::LongLong) | ("year", Kind::Year) => {}
        ("float", Kind::Float) | ("double", Kind::Double) => {}
        ("decimal", Kind::NewDecimal) => {
            let [precision, scale] = numbers else { return Err(TYPE) };
            length(precision | (scale << 8))?;
        }
        ("bit", Kind::Bit) => {
            let bits = numbers.first().copied().unwrap_or(1);
            length((bits % 8) | ((bits / 8) << 8))?;
        }
        ("date", Kind::Date | Kind::NewDate) => {}
        ("time", Kind::Time2) | ("datetime", Kind::DateTime2) | ("timestamp", Kind::Timestamp2) => {
            fraction()?;
        }
        ("time", Kind::Time) | ("datetime", Kind::DateTime) | ("timestamp", Kind::Timestamp) => {
            // MySQL has no digits there, and what MariaDB has only the server knows.
            if !old_temporal::is_unproven(column) {
                fraction()?;
            }
        }
        ("char" | "binary", Kind::String) | ("varchar" | "varbinary", Kind::Varchar) => octets()?,
        ("varchar" | "varbinary", Kind::VarString) => {}
        ("varchar" | "varbinary", Kind::VarcharCompressed) if declared.compressed => {}
        ("tinyblob" | "tinytext", Kind::Blob) => length(1)?,
        ("blob" | "text", Kind::Blob) => length(2)?,
        ("mediumblob" | "mediumtext", Kind::Blob) => length(3)?,
        ("longtext", Kind::Blob) if info.json => {
            length(4)?;
            return Ok(Meaning::Json);
        }
        ("longblob" | "longtext", Kind::Blob) => length(4)?,
        ("json", Kind::Json) => {}
        (_, Kind::BlobCompressed) if declared.compressed => {}
        ("enum", Kind::Enum) => length(if declared.labels.len() < 256 { 1 } else { 2 })?,
        ("set", Kind::Set) => length(match declared.labels.len().div_ceil(8) {
            bytes @ 0..=4 => bytes.max(1) as u64,
            _ => 8,
        })?,
        (base, Kind::Geometry) if GEOMETRY.contains(&base) => {}
        ("vector", Kind::Vector) => {}
        ("vector", Kind::Varchar) => return Ok(Meaning::Vector),
        ("uuid", Kind::String) => return length(16).map(|()| Meaning::Uuid),
        ("inet6", Kind::String) => return length(16).map(|()| Meaning::Inet6),
        ("inet4", Kind::String) => return length(4).map(|()| Meaning::Inet4),
        _ => return Err(TYPE),
    }
    Ok(Meaning::Plain)
}

const GEOMETRY: [&str; 9] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
];

/// A COLUMN_TYPE, taken apart.
#[derive(Debug, Default, Eq, PartialEq)]
struct Declared {
    base: String,
    numbers: Vec<u64>,
    labels: Vec<String>,
    unsigned: bool,
    compressed: bool,
}

impl Declared {
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (base, mut rest) = text.split_at(end);
        let mut found = Self { base: base.to_ascii_lowercase(), ..Self::default() };
        if let Some(arguments) = rest.strip_prefix('(') {
            rest = if arguments.starts_with('\'') {
                found.labels(arguments)?
            } else {
                let (numbers, rest) = arguments.split_once(')')?;
                for number in numbers.split(',') {
                    found.numbers.push(number.trim().parse().ok()?);
                }
                rest
            };
        }
        let rest = rest.to_ascii_lowercase();
        // ZEROFILL implies it, and information_schema says both.
        found.unsigned = rest.contains("unsigned");
        found.compressed = rest.contains("compressed");
        if found.base.is_empty() { None } else { Some(found) }
    }

    /// `'a','it''s')…`: what is behind the closing parenthesis.
    fn labels<'a>(&mut self, mut rest: &'a str) -> Option<&'a str> {
        loop {
            rest = rest.strip_prefix('\'')?;
            let mut label = String::new();
            loop {
                let (head, tail) = rest.split_once('\'')?;
                label.push_str(head);
                rest = tail;
                // A quote inside is doubled; nothing else is escaped here.
                let Some(tail) = rest.strip_prefix('\'') else { break };
                label.push('\'');
                rest = tail;
            }
            self.labels.push(label);
            match rest.strip_prefix(',') {
                Some(tail) => rest = tail,
                None => return rest.strip_prefix(')'),
            }
        }
    }
}

/// Why these are not the columns of those rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// Another number of them.
    Count {
        /// In the table map.
        log: usize,
        /// In information_schema; 0 also if the table is not there or not to be seen.
        server: usize,
    },
    /// One differs.
    Column {
        /// Its place, from 0.
        index: usize,
        /// Its name at the server.
        name: String,
        /// How.
        what: &'static str,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { log, server: 0 } => write!(
                f,
                "the log has {log} columns, and the server shows no such table now (dropped, \
                 renamed, or no SELECT privilege on it)"
            ),
            Self::Count { log, server } => {
                write!(f, "the log has {log} columns, the server {server} now")
            }
            Self::Column { index, name, what } => {
                write!(
                    f,
                    "column {} (`{}` at the server now): {what}",
                    index + 1,
                    name.escape_debug()
                )
            }
        }
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Kind, meta: u16) -> Column {
        Column { kind, meta, nullable: true, visible: true, ..Column::default() }
    }

    fn info(name: &str, column_type: &str) -> ColumnInfo {
        ColumnInfo {
            name: name.into(),
            column_type: column_type.into(),
            nullable: true,
            visible: true,
            ..ColumnInfo::default()
        }
    }

    fn one(column: Column, info: ColumnInfo) -> Result<Column, Mismatch> {
        let mut table = Table { columns: vec![column], ..Table::default() };
        complete(&mut table, &[info])?;
        Ok(table.columns.remove(0))
    }

    #[test]
    fn names_signs_and_keys_come_from_the_server() {
        let mut table = Table {
            columns: vec![column(Kind::Long, 0), column(Kind::LongLong, 0)],
            ..Table::default()
        };
        let mut key = info("b", "bigint(20) unsigned");
        key.key_position = Some(1);
        complete(&mut table, &[info("a", "int"), key]).unwrap();
        assert_eq!((table.names, table.primary_key.as_slice()), (Names::Server, &[1][..]));
        let [a, b] = table.columns.as_slice() else { panic!("two columns") };
        assert_eq!((a.name.as_str(), a.unsigned), ("a", Some(false)));
        assert_eq!((b.name.as_str(), b.unsigned), ("b", Some(true)));
    }

    #[test]
    fn a_column_that_no_view_shows_is_hidden_if_it_can_be_one() {
        let hidden = ColumnInfo { hidden: true, ..info("DB_ROW_HASH_1", "") };
        let found = one(Column { nullable: false, ..column(Kind::LongLong, 0) }, hidden.clone());
        assert_eq!(found.unwrap().meaning, Meaning::Hidden);
        assert!(one(column(Kind::Long, 0), hidden).is_err());
    }

    #[test]
    fn what_the_log_contradicts_is_refused() {
        let unsigned = Column { unsigned: Some(true), ..column(Kind::Long, 0) };
        let latin = Column { collation: Some(8), ..column(Kind::Varchar, 40) };
        let text = ColumnInfo { octets: Some(40), collation: Some(45), ..info("a", "varchar(10)") };
        for (column, info) in [
            (unsigned, info("a", "int")),
            (latin, text.clone()),
            (column(Kind::Varchar, 44), text),
            (column(Kind::Long, 0), info("a", "bigint")),
            (column(Kind::NewDecimal, 10 | (2 << 8)), info("a", "decimal(10,3)")),
            (column(Kind::DateTime2, 3), info("a", "datetime")),
            (column(Kind::Enum, 1), info("a", "varchar(3)")),
            (column(Kind::Long, 0), ColumnInfo { nullable: false, ..info("a", "int") }),
            (column(Kind::Long, 0), info("a", "sometype(3)")),
        ] {
            let found = one(column.clone(), info.clone());
            assert!(matches!(found, Err(Mismatch::Column { index: 0, .. })), "{column:?} {info:?}");
        }
        let mut table = Table { columns: vec![column(Kind::Long, 0)], ..Table::default() };
        let before = table.clone();
        assert_eq!(complete(&mut table, &[]), Err(Mismatch::Count { log: 1, server: 0 }));
        assert_eq!(table, before);
    }

    #[test]
    fn types_without_a_mark_in_the_log_get_their_meaning() {
        let json = ColumnInfo { json: true, collation: Some(46), ..info("a", "longtext") };
        for (column, info, meaning) in [
            (column(Kind::Blob, 4), json, Meaning::Json),
            (column(Kind::String, 16), info("a", "uuid"), Meaning::Uuid),
            (column(Kind::String, 16), info("a", "inet6"), Meaning::Inet6),
            (column(Kind::String, 4), info("a", "inet4"), Meaning::Inet4),
            (column(Kind::Varchar, 12), info("a", "vector(3)"), Meaning::Vector),
            (column(Kind::Bit, (1 << 8) | 1), info("a", "bit(9)"), Meaning::Plain),
            (column(Kind::Timestamp2, 6), info("a", "timestamp(6)"), Meaning::Plain),
            (column(Kind::NewDecimal, 10 | (2 << 8)), info("a", "decimal(10,2)"), Meaning::Plain),
        ] {
            assert_eq!(one(column, info).unwrap().meaning, meaning);
        }
    }

    #[test]
    fn text_whose_collation_was_not_found_is_never_taken_for_bytes() {
        let octets = |declared| ColumnInfo { octets: Some(40), ..info("a", declared) };
        for (kind, meta, declared) in [
            (Kind::Varchar, 40, "varchar(10)"),
            (Kind::String, 40, "char(10)"),
            (Kind::Blob, 2, "text"),
            (Kind::Enum, 1, "enum('a')"),
            (Kind::Set, 1, "set('a')"),
        ] {
            assert!(one(column(kind, meta), octets(declared)).is_err(), "{declared}");
        }
        for (kind, meta, declared) in
            [(Kind::Varchar, 40, "varbinary(40)"), (Kind::Blob, 2, "blob")]
        {
            let bytes = one(column(kind, meta), octets(declared)).unwrap();
            assert_eq!(bytes.collation, Some(BINARY), "{declared}");
        }
    }

    #[test]
    fn members_are_read_with_their_quotes_and_commas() {
        let members = info("a", "enum('a','it''s','x,y)','')");
        let members = ColumnInfo { collation: Some(45), ..members };
        let found = one(column(Kind::Enum, 1), members).unwrap();
        assert_eq!(found.labels, ["a", "it's", "x,y)", ""]);
        for torn in ["enum('a", "enum('a'", "enum('a',)", "int(1", "int(x)", "("] {
            assert_eq!(Declared::parse(torn), None, "{torn}");
        }
    }

    #[test]
    fn how_many_digits_an_old_column_has_is_the_server_s_word() {
        let unknown = |kind| column(kind, old_temporal::DIGITS_UNKNOWN);
        for (kind, declared, digits) in [
            (Kind::DateTime, "datetime(6) /* mariadb-5.3 */", 6),
            (Kind::DateTime, "datetime /* mariadb-5.3 */", 0),
            (Kind::Time, "time(3) /* mariadb-5.3 */", 3),
            (Kind::Timestamp, "timestamp(1)", 1),
        ] {
            assert_eq!(one(unknown(kind), info("a", declared)).unwrap().meta, digits, "{declared}");
        }
        assert!(one(unknown(Kind::Time), info("a", "time(7)")).is_err());
        assert!(one(unknown(Kind::Time), info("a", "timestamp")).is_err());
        // MySQL's have none, and what is known is not changed.
        assert_eq!(one(column(Kind::Time, 0), info("a", "time")).unwrap().meta, 0);
        assert!(one(column(Kind::Time, 0), info("a", "time(2)")).is_err());
    }

    #[test]
    fn a_table_with_names_may_still_leave_something_unsaid() {
        let of = |kind, meta, collation| Table {
            columns: vec![column(Kind::Long, 0), Column { collation, ..column(kind, meta) }],
            names: Names::Log,
            ..Table::default()
        };
        for (kind, meta, collation, unsaid) in [
            (Kind::Blob, 4, Some(46), true),
            (Kind::Blob, 4, Some(BINARY), false),
            (Kind::Blob, 2, Some(46), false),
            (Kind::String, 16, Some(BINARY), true),
            (Kind::String, 16, Some(45), false),
            (Kind::String, 5, Some(BINARY), false),
            (Kind::Varchar, 12, Some(BINARY), true),
            (Kind::Time, old_temporal::DIGITS_UNKNOWN, None, true),
            (Kind::Time, 0, None, false),
        ] {
            let table = of(kind, meta, collation);
            assert_eq!(leaves_unsaid(&table), unsaid, "{kind:?} {meta} {collation:?}");
        }
        // With the names of the log, the server adds the meaning and changes no name.
        let mut table = of(Kind::String, 16, Some(BINARY));
        for (column, name) in table.columns.iter_mut().zip(["i", "u"]) {
            name.clone_into(&mut column.name);
        }
        let columns = [info("i", "int(11)"), info("u", "uuid")];
        complete(&mut table, &columns).unwrap();
        assert_eq!((table.names, table.columns[1].meaning), (Names::Log, Meaning::Uuid));
        let other = [info("i", "int(11)"), info("v", "uuid")];
        assert!(complete(&mut table, &other).is_err());
    }
}
