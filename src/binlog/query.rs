//! QUERY: a statement, with the session it ran in.
//!
//! ```text
//!  thread u32 | seconds u32 | length of database u8 | error u16 | length of variables u16
//!  | variables | database, NUL | statement
//! ```
//!
//! | variable | bytes behind its code | |
//! |---|---|---|
//! | 0 flags, 10 length in the first log | 4 | |
//! | 1 SQL mode, 9 tables for update | 8 | |
//! | 2 catalog | 1 + n + 1 | MySQL 5.0.0 to 5.0.3 |
//! | 3 auto_increment_increment and _offset | 4 | |
//! | 4 character_set_client, collation_connection, collation_server | 6 | |
//! | 5 time zone, 6 catalog | 1 + n | |
//! | 7 lc_time_names, 8 collation_database | 2 | |
//! | 11 invoker: user, host | 1 + n, 1 + n | |
//! | 12 changed databases | 1, and unless there are more than 16 their names, each with a NUL | MySQL |
//! | 13 microseconds | 3 | MySQL |
//! | 16 explicit_defaults_for_timestamp, 19 sql_require_primary_key, 20 table encryption | 1 | MySQL |
//! | 17 XID of DDL | 8 | MySQL |
//! | 18 default_collation_for_utf8mb4 | 2 | MySQL |
//! | 128 microseconds | 3 | MariaDB |
//! | 129 XID of DDL | 8 | MariaDB |
//! | 130 flags of the GTID; with the end of a two-phase ALTER where it began | 1, 1 + 8 | MariaDB 10.8 |
//! | 131 character_set_collations | 1 + 4 n | MariaDB 11.5, before all others |
//!
//! Before MySQL 5.0 there was no length of variables, and none of them.
//!
//! Source: `Query_event` in `libs/mysql/binlog/event/statement_events.cpp` (MySQL), `Query_log_event` in
//! `sql/log_event.cc` (MariaDB).

use super::format::Format;
use super::gtid::MARIA_EXTRA_ALTER_ENDS;
use super::header::EventKind;
use super::reader::{DecodeError, Reader};

/// A statement.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query<'a> {
    /// The session.
    pub thread_id: u32,
    /// How long it ran, seconds.
    pub exec_time_s: u32,
    /// 0, or the error that it ended with.
    pub error_code: u16,
    /// The session's database, UTF-8; empty if there is none.
    pub database: &'a [u8],
    /// In the character set of [`Self::charset`].
    pub statement: &'a [u8],
    /// The ids of character_set_client, collation_connection and collation_server.
    pub charset: Option<[u16; 3]>,
    /// The session's SQL mode: `MODE_…` in `sql/system_variables.h` (MySQL), `sql/sql_class.h` (MariaDB).
    pub sql_mode: Option<u64>,
    /// `OPTION_…`, of which the servers log those that replicas need.
    pub flags: Option<u32>,
    /// The part of a second behind the header's timestamp, microseconds.
    pub microseconds: Option<u32>,
    /// MySQL: the XID of a DDL statement.
    pub ddl_xid: Option<u64>,
}

impl<'a> Query<'a> {
    pub(super) fn decode(
        without_variables: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let (head, lens) = Self::decode_head(without_variables, reader)?;
        head.decode_texts(lens, reader)
    }

    /// EXECUTE_LOAD_QUERY: between the head and the variables it has the file's number, where in the
    /// statement the file's name is, and what to do with duplicates.
    pub(super) fn decode_load(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (head, lens) = Self::decode_head(false, reader)?;
        reader.bytes(4 + 4 + 4 + 1, "load data: file and its name")?;
        head.decode_texts(lens, reader)
    }

    /// The fixed part; the lengths of variables and database.
    fn decode_head(
        without_variables: bool,
        reader: &mut Reader<'a>,
    ) -> Result<(Self, (u16, u8)), DecodeError> {
        let thread_id = reader.u32("query: thread")?;
        let exec_time_s = reader.u32("query: time")?;
        let database_len = reader.u8("query: length of the database")?;
        let error_code = reader.u16("query: error code")?;
        let variables_len = match without_variables {
            true => 0,
            false => reader.u16("query: length of the variables")?,
        };
        let head = Self { thread_id, exec_time_s, error_code, ..Self::default() };
        Ok((head, (variables_len, database_len)))
    }

    fn decode_texts(
        mut self,
        (variables_len, database_len): (u16, u8),
        reader: &mut Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let at = reader.at();
        let variables = reader.bytes(variables_len.into(), "query: variables")?;
        self.database = reader.bytes(database_len.into(), "query: database")?;
        let end = reader.u8("query: end of the database")?;
        if end != 0 {
            return Err(reader.invalid(end.into(), "query: end of the database"));
        }
        self.statement = reader.rest();
        self.decode_variables(Reader::starting_at(variables, at))?;
        Ok(self)
    }

    /// Each variable is a code and a value without a length, so the first unknown code ends the
    /// walk; the servers, too, leave it at that.
    fn decode_variables(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        const FIELD: &str = "query: variable";
        while !reader.is_empty() {
            match reader.u8(FIELD)? {
                0 => self.flags = Some(reader.u32(FIELD)?),
                1 => self.sql_mode = Some(reader.u64(FIELD)?),
                2 => {
                    let len = reader.u8(FIELD)?;
                    drop_bytes(&mut reader, usize::from(len) + 1)?;
                }
                4 => {
                    self.charset =
                        Some([reader.u16(FIELD)?, reader.u16(FIELD)?, reader.u16(FIELD)?]);
                }
                5 | 6 => drop_short_text(&mut reader)?,
                11 => {
                    drop_short_text(&mut reader)?;
                    drop_short_text(&mut reader)?;
                }
                12 => drop_databases(&mut reader)?,
                13 | 128 => self.microseconds = Some(reader.u24(FIELD)?),
                17 => self.ddl_xid = Some(reader.u64(FIELD)?),
                16 | 19 | 20 => drop_bytes(&mut reader, 1)?,
                7 | 8 | 18 => drop_bytes(&mut reader, 2)?,
                3 | 10 => drop_bytes(&mut reader, 4)?,
                9 | 129 => drop_bytes(&mut reader, 8)?,
                130 => {
                    if reader.u8(FIELD)? & MARIA_EXTRA_ALTER_ENDS != 0 {
                        drop_bytes(&mut reader, 8)?;
                    }
                }
                131 => {
                    let count = reader.u8(FIELD)?;
                    drop_bytes(&mut reader, usize::from(count) * 4)?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

fn drop_bytes(reader: &mut Reader<'_>, len: usize) -> Result<(), DecodeError> {
    reader.bytes(len, "query: variable").map(drop)
}

fn drop_short_text(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let len = reader.u8("query: variable")?;
    drop_bytes(reader, len.into())
}

/// The databases that the statement changes; of more than 16 it has not the names.
fn drop_databases(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let count = reader.u8("query: databases")?;
    for _ in 0..if count > DATABASES_MAX { 0 } else { count } {
        while reader.u8("query: database's name")? != 0 {}
    }
    Ok(())
}

/// `MAX_DBS_IN_EVENT_MTS`.
const DATABASES_MAX: u8 = 16;

/// Whether the log has QUERY events as they were before MySQL 5.0.
pub(super) fn without_variables(format: Option<&Format>) -> bool {
    format.and_then(|format| format.post_header_len(EventKind::Query)) == Some(HEAD_LEN_OLD)
}

/// `QUERY_HEADER_MINIMAL_LEN`.
const HEAD_LEN_OLD: u8 = 4 + 4 + 1 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn query(variables: &[u8]) -> Vec<u8> {
        let head = [9, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, variables.len() as u8, 0];
        [&head[..], variables, b"d\0select 'x'"].concat()
    }

    #[test]
    fn a_query_says_its_session_and_its_character_sets() {
        let variables = [
            &[0, 0, 0, 0, 0][..],
            &[6, 3, b's', b't', b'd', 4, 8, 0, 45, 0, 255, 0],
            &[12, 1, b'd', 0, 13, 1, 2, 0, 17, 7, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let bytes = query(&variables);
        let query = Query::decode(false, &mut Reader::new(&bytes)).unwrap();
        assert_eq!((query.thread_id, query.exec_time_s), (9, 2));
        assert_eq!((query.database, query.statement), (&b"d"[..], &b"select 'x'"[..]));
        assert_eq!(query.charset, Some([8, 45, 255]));
        assert_eq!((query.microseconds, query.ddl_xid), (Some(0x201), Some(7)));
    }

    #[test]
    fn an_unknown_variable_ends_the_walk_and_a_torn_one_is_an_error() {
        let bytes = query(&[4, 8, 0, 45, 0, 255, 0, 200, 13, 1]);
        let query_event = Query::decode(false, &mut Reader::new(&bytes)).unwrap();
        assert_eq!(query_event.charset, Some([8, 45, 255]));
        assert_eq!(query_event.microseconds, None);
        let bytes = query(&[4, 8, 0, 45]);
        assert!(Query::decode(false, &mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn the_variables_of_every_server_have_their_lengths() {
        let variables: [&[u8]; 23] = [
            &[131, 2, 8, 0, 45, 0, 33, 0, 83, 0], // MariaDB 11.5 has it first
            &[0, 1, 0, 0, 0],
            &[1, 4, 0, 0, 0, 0, 0, 0, 0],
            &[2, 3, b's', b't', b'd', 0],
            &[3, 1, 0, 1, 0],
            &[5, 6, b'S', b'Y', b'S', b'T', b'E', b'M'],
            &[6, 3, b's', b't', b'd'],
            &[7, 1, 0],
            &[8, 45, 0],
            &[9, 0, 0, 0, 0, 0, 0, 0, 0],
            &[10, 0, 0, 0, 0],
            &[11, 1, b'u', 1, b'h'],
            &[12, 2, b'a', 0, b'b', b'c', 0],
            &[12, 17],
            &[13, 0, 0, 0],
            &[16, 0],
            &[17, 7, 0, 0, 0, 0, 0, 0, 0],
            &[18, 255, 0],
            &[19, 0, 20, 1],
            &[128, 1, 0, 0],
            &[129, 0, 0, 0, 0, 0, 0, 0, 0],
            &[130, 2],
            &[130, 4, 9, 0, 0, 0, 0, 0, 0, 0],
        ];
        // Each is told by what comes behind it.
        for variable in variables {
            let bytes = query(&[variable, &[4, 28, 0, 45, 0, 255, 0]].concat());
            let query = Query::decode(false, &mut Reader::new(&bytes)).unwrap();
            assert_eq!(query.charset, Some([28, 45, 255]), "{variable:?}");
            for cut in 1..variable.len() {
                let bytes = super::tests::query(&variable[..cut]);
                let torn = Query::decode(false, &mut Reader::new(&bytes));
                assert!(torn.is_err() || matches!(variable, [12 | 19, ..]), "{variable:?} {cut}");
            }
        }
        let bytes = query(variables[2]);
        let query = Query::decode(false, &mut Reader::new(&bytes)).unwrap();
        assert_eq!((query.sql_mode, query.flags), (Some(4), None));
    }

    #[test]
    fn before_mysql_5_0_there_were_no_variables() {
        let bytes = [&[9, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0][..], b"d\0select 'x'"].concat();
        let query = Query::decode(true, &mut Reader::new(&bytes)).unwrap();
        assert_eq!((query.database, query.statement), (&b"d"[..], &b"select 'x'"[..]));
    }

    #[test]
    fn load_data_has_its_statement_behind_its_file() {
        let head = [9, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0];
        let bytes = [&head[..], &[7; 13], &[7, 1], b"d\0LOAD DATA"].concat();
        // The variable is torn, as its code promises two bytes.
        assert!(Query::decode_load(&mut Reader::new(&bytes)).is_err());
        let bytes = [&head[..], &[7; 13], &[19, 1], b"d\0LOAD DATA"].concat();
        let query = Query::decode_load(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(query.statement, b"LOAD DATA");
    }
}
