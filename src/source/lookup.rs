//! SHELL: reads a table's columns from information_schema, and the log ahead for statements that
//! may have altered it, over a second, short connection.

use std::time::{Duration, Instant};

use super::columns::ColumnInfo;
use super::live;
use super::schema::Ahead;
use super::track::Track;
use crate::binlog::compressed::Room;
use crate::binlog::decoder::Decoder;
use crate::binlog::event::Event;
use crate::binlog::format::Flavor;
use crate::binlog::frame::Part;
use crate::binlog::header::{EventKind, Header};
use crate::binlog::reader::Reader;
use crate::binlog::table_map::collation_id;
use crate::mysql::channel::Stopper;
use crate::mysql::connection::{Connection, Endpoint};
use crate::mysql::dump::Dump;
use crate::mysql::error::MysqlError;
use crate::position::ServerId;

/// A server that sends nothing for so long while its log is read ahead is not there any more.
const SILENCE: Duration = Duration::from_secs(30);
/// Why columns were not found.
#[derive(Debug)]
pub(super) enum LookupError {
    /// The server was not reached, or failed: try again.
    Server(MysqlError),
    /// It cannot be known.
    Unprovable(String),
}

impl From<MysqlError> for LookupError {
    fn from(error: MysqlError) -> Self {
        Self::Server(error)
    }
}

/// The columns that the table has had from `here` on until now.
pub(super) fn columns(
    endpoint: &Endpoint,
    server: &ServerId,
    table: (&str, &str),
    here: &Track,
    ahead: &mut Ahead,
    stopper: &Stopper,
) -> Result<Vec<ColumnInfo>, LookupError> {
    let mut connection = Connection::open(endpoint, stopper)?;
    let found = live::identity(&mut connection)?;
    if found != *server {
        return Err(LookupError::Unprovable(format!("{found} is not the log's server, {server}")));
    }
    live::prepare_session(&mut connection)?;
    let columns = read_columns(&mut connection, table)?;
    // Only now: whatever the columns show is in the log by now.
    read_ahead(connection, here, ahead)?;
    match ahead.alters(table.0, table.1) {
        Some(place) => Err(LookupError::Unprovable(format!(
            "a statement behind these rows may have altered it ({place})"
        ))),
        None => Ok(columns),
    }
}

fn read_columns(
    connection: &mut Connection,
    (schema, table): (&str, &str),
) -> Result<Vec<ColumnInfo>, MysqlError> {
    let flavor = connection.flavor();
    let (schema_text, table_text) = (literal(schema), literal(table));
    let by_table = format!("TABLE_SCHEMA = {schema_text} AND TABLE_NAME = {table_text}");
    let version = connection.version_numbers();
    let collations = collations(flavor, version);
    if flavor == Flavor::Mysql && version >= (8, 0, 30) {
        // A key that the server makes of itself is a column like others, if it is shown.
        connection.query("SET show_gipk_in_create_table_and_information_schema = ON")?;
    }
    let mut columns = Vec::new();
    let sql = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, c.IS_NULLABLE, a.ID, \
         c.CHARACTER_OCTET_LENGTH, c.EXTRA FROM information_schema.COLUMNS c LEFT JOIN {collations} \
         WHERE c.TABLE_SCHEMA = {schema_text} AND c.TABLE_NAME = {table_text} \
         ORDER BY c.ORDINAL_POSITION"
    );
    connection.query_each(&sql, |row| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || row.next().unwrap_or_default();
        // Names compare without case here; the table map's spelling is exact.
        if (next().as_str(), next().as_str()) != (schema, table) {
            return;
        }
        let (name, column_type, nullable) = (next(), next(), next() == "YES");
        let collation = next().parse().ok().filter(|id| !is_ambiguous(flavor, version, *id));
        let collation = collation.map(|id| collation_id(flavor, id));
        let octets = next().parse().ok();
        let visible = !next().to_ascii_uppercase().contains("INVISIBLE");
        let known = ColumnInfo {
            name,
            column_type,
            nullable,
            collation,
            octets,
            visible,
            ..ColumnInfo::default()
        };
        columns.push(known);
    })?;
    let sql = format!(
        "SELECT COLUMN_NAME, SEQ_IN_INDEX FROM information_schema.STATISTICS \
         WHERE INDEX_NAME = 'PRIMARY' AND {by_table}"
    );
    for row in connection.query(&sql)? {
        if let [Some(name), Some(position)] = row.as_slice()
            && let Some(column) = columns.iter_mut().find(|column| column.name == *name)
        {
            column.key_position = position.parse().ok();
        }
    }
    if flavor == Flavor::Mariadb {
        mariadb_columns(connection, &mut columns, (&schema_text, &table_text))?;
    }
    Ok(columns)
}

/// Where the ids of collations are. From 10.10.1 on MariaDB has some that serve several character sets.
fn collations(flavor: Flavor, version: (u32, u32, u32)) -> &'static str {
    if flavor == Flavor::Mariadb && version >= (10, 10, 1) {
        "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY a ON a.FULL_COLLATION_NAME = \
         c.COLLATION_NAME AND a.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME"
    } else {
        "information_schema.COLLATIONS a ON a.COLLATION_NAME = c.COLLATION_NAME"
    }
}

/// Whether this id is that of another character set in newer servers: `utf32_croatian_ci` and
/// `utf16_croatian_ci` before MariaDB 10.0.6.
fn is_ambiguous(flavor: Flavor, version: (u32, u32, u32), id: u16) -> bool {
    flavor == Flavor::Mariadb && version < (10, 0, 6) && matches!(id, 214 | 215)
}

/// Whether information_schema has CHECK_CONSTRAINTS; before it, no column is JSON by one.
fn has_checks(version: (u32, u32, u32)) -> bool {
    version >= (10, 2, 22) && !((10, 3, 0)..(10, 3, 10)).contains(&version)
}

/// What MariaDB keeps elsewhere: JSON checks, and columns that are added unseen: two by versioning, and one by each
/// UNIQUE key that is too long for an index.
fn mariadb_columns(
    connection: &mut Connection,
    columns: &mut Vec<ColumnInfo>,
    (schema, table): (&str, &str),
) -> Result<(), MysqlError> {
    let version = connection.version_numbers();
    let sql = format!(
        "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = {schema} AND TABLE_NAME = {table}"
    );
    let checks = if has_checks(version) { connection.query(&sql)? } else { Vec::new() };
    for row in checks {
        let Some(Some(clause)) = row.into_iter().next() else { continue };
        for column in columns.iter_mut() {
            column.json |= clause == format!("json_valid(`{}`)", column.name.replace('`', "``"));
        }
    }
    if version < (10, 3, 0) {
        // No table is versioned.
        return Ok(());
    }
    let sql = format!(
        "SELECT TABLE_TYPE = 'SYSTEM VERSIONED' AND (SELECT COUNT(*) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND GENERATION_EXPRESSION = 'ROW START') = 0, \
         IF(ENGINE = 'MEMORY', 0, (SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND NON_UNIQUE = 0 AND INDEX_TYPE = 'HASH')) \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}"
    );
    let rows = connection.query(&sql)?;
    let Some([Some(implicit), Some(hashes)]) = rows.first().map(Vec::as_slice) else {
        return Ok(());
    };
    if columns.is_empty() {
        return Ok(());
    }
    if implicit == "1" {
        columns.extend(["row_start", "row_end"].map(|name| ColumnInfo {
            name: name.into(),
            column_type: "timestamp(6)".into(),
            ..ColumnInfo::default()
        }));
    }
    // Names that are taken are passed over; what remains is that no statement sees them.
    columns.extend((1..=hashes.parse().unwrap_or(0_u16)).map(|number| ColumnInfo {
        name: format!("DB_ROW_HASH_{number}"),
        hidden: true,
        ..ColumnInfo::default()
    }));
    Ok(())
}

/// A string that no quoting rule can change.
fn literal(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("_utf8mb4 X'{digits}'")
}

/// Notes the statements from `here` to the end of the log.
fn read_ahead(connection: Connection, here: &Track, ahead: &mut Ahead) -> Result<(), LookupError> {
    let begin = ahead.begin(here);
    let offset = u32::try_from(begin.next).map_err(|_| {
        LookupError::Unprovable("its place is above 4 GiB, from where no server can be read".into())
    })?;
    let dump = Dump::File { name: &begin.file, offset, wait: false };
    let mut stream = connection.dump(0, &dump)?;
    let mut track = begin.clone();
    let (mut decoder, mut room) = (Decoder::new(), Room::new());
    let mut alters_nothing = false;
    loop {
        match stream.poll(Instant::now() + SILENCE) {
            Ok(true) => {}
            Ok(false) => return Err(MysqlError::Timeout { awaited: "event" }.into()),
            Err(MysqlError::End) => break,
            Err(error) => return Err(error.into()),
        }
        // Of a compressed transaction the header is enough: the DDL in it, if there is any, makes a table
        // and alters none.
        if stream.part() == Part::Rest {
            continue;
        }
        let bytes = stream.event();
        let kind = bytes.get(4).copied().unwrap_or_default();
        let concerns = match EventKind::from(kind) {
            EventKind::Query | EventKind::QueryCompressed | EventKind::MariaGtid => true,
            kind => matches!(kind, EventKind::Rotate | EventKind::FormatDescription),
        };
        if concerns {
            let (header, event) = decoder.decode_in(bytes, &mut room).map_err(|error| {
                LookupError::Unprovable(format!("the log ahead cannot be read: {error}"))
            })?;
            let place = Track { next: track.locate(&header, &event), file: track.file.clone() };
            match event {
                Event::MariadbGtid(gtid) => alters_nothing = gtid.alters_nothing,
                Event::Query(query) if !std::mem::take(&mut alters_nothing) => {
                    ahead.push(place, query.statement);
                }
                _ => {}
            }
        } else if let Ok(header) = Header::decode(&mut Reader::new(bytes)) {
            track.locate(&header, &Event::Stop);
        }
    }
    ahead.end = Some(track);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_servers_do_not_have_is_not_asked_for() {
        let full = |flavor, version| collations(flavor, version).contains("FULL_COLLATION_NAME");
        assert!(full(Flavor::Mariadb, (10, 10, 1)) && full(Flavor::Mariadb, (11, 8, 6)));
        assert!(!full(Flavor::Mariadb, (10, 6, 18)) && !full(Flavor::Mysql, (11, 0, 0)));
        for (version, has) in [
            ((5, 5, 68), false),
            ((10, 2, 21), false),
            ((10, 2, 22), true),
            ((10, 3, 9), false),
            ((10, 3, 10), true),
            ((11, 8, 6), true),
        ] {
            assert_eq!(has_checks(version), has, "{version:?}");
        }
    }

    #[test]
    fn an_id_that_changed_its_meaning_is_not_believed() {
        assert!(is_ambiguous(Flavor::Mariadb, (5, 5, 68), 214));
        assert!(is_ambiguous(Flavor::Mariadb, (10, 0, 5), 215));
        assert!(!is_ambiguous(Flavor::Mariadb, (10, 0, 6), 214));
        assert!(!is_ambiguous(Flavor::Mariadb, (5, 5, 68), 213));
        assert!(!is_ambiguous(Flavor::Mysql, (5, 5, 62), 214));
    }
}
