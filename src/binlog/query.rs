//! QUERY: a statement, with the session it ran in.
//!
//! ```text
//!  thread u32 | seconds u32 | length of database u8 | error u16 | length of variables u16
//!  | variables | database, NUL | statement
//! ```
//!
//! Source: `Query_event` in `libs/mysql/binlog/event/statement_events.cpp`.

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
    /// The part of a second behind the header's timestamp, microseconds.
    pub microseconds: Option<u32>,
    /// MySQL: the XID of a DDL statement.
    pub ddl_xid: Option<u64>,
}

impl<'a> Query<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let thread_id = reader.u32("query: thread")?;
        let exec_time_s = reader.u32("query: time")?;
        let database_len = reader.u8("query: length of the database")?;
        let error_code = reader.u16("query: error code")?;
        let variables_len = reader.u16("query: length of the variables")?;
        let at = reader.at();
        let variables = reader.bytes(variables_len.into(), "query: variables")?;
        let database = reader.bytes(database_len.into(), "query: database")?;
        let end = reader.u8("query: end of the database")?;
        if end != 0 {
            return Err(reader.invalid(end.into(), "query: end of the database"));
        }
        let statement = reader.rest();
        let mut query =
            Self { thread_id, exec_time_s, error_code, database, statement, ..Self::default() };
        query.decode_variables(Reader::starting_at(variables, at))?;
        Ok(query)
    }

    /// Each variable is a code and a value without a length, so the first unknown code ends the
    /// walk; the servers, too, leave it at that.
    fn decode_variables(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        const FIELD: &str = "query: variable";
        while !reader.is_empty() {
            match reader.u8(FIELD)? {
                // Flags; auto_increment; master's length.
                0 | 3 | 10 => drop_bytes(&mut reader, 4)?,
                // SQL mode; tables for update; MariaDB's XID.
                1 | 9 | 129 => drop_bytes(&mut reader, 8)?,
                // The catalog, with and without a NUL behind it.
                2 => {
                    let len = reader.u8(FIELD)?;
                    drop_bytes(&mut reader, usize::from(len) + 1)?;
                }
                4 => {
                    self.charset =
                        Some([reader.u16(FIELD)?, reader.u16(FIELD)?, reader.u16(FIELD)?]);
                }
                // The time zone; the catalog.
                5 | 6 => drop_short_text(&mut reader)?,
                // lc_time_names; the database's collation; utf8mb4's default collation.
                7 | 8 | 18 => drop_bytes(&mut reader, 2)?,
                // The invoker: user and host.
                11 => {
                    drop_short_text(&mut reader)?;
                    drop_short_text(&mut reader)?;
                }
                12 => drop_databases(&mut reader)?,
                13 | 128 => self.microseconds = Some(reader.u24(FIELD)?),
                // explicit_defaults_for_timestamp; sql_require_primary_key; table encryption.
                16 | 19 | 20 => drop_bytes(&mut reader, 1)?,
                17 => self.ddl_xid = Some(reader.u64(FIELD)?),
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

/// The databases that the statement changes; 254 says that there are too many to tell.
fn drop_databases(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let count = reader.u8("query: databases")?;
    for _ in 0..if count == 254 { 0 } else { count } {
        while reader.u8("query: database's name")? != 0 {}
    }
    Ok(())
}

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
        let query = Query::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((query.thread_id, query.exec_time_s), (9, 2));
        assert_eq!((query.database, query.statement), (&b"d"[..], &b"select 'x'"[..]));
        assert_eq!(query.charset, Some([8, 45, 255]));
        assert_eq!((query.microseconds, query.ddl_xid), (Some(0x201), Some(7)));
    }

    #[test]
    fn an_unknown_variable_ends_the_walk_and_a_torn_one_is_an_error() {
        let bytes = query(&[4, 8, 0, 45, 0, 255, 0, 200, 13, 1]);
        let query_event = Query::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(query_event.charset, Some([8, 45, 255]));
        assert_eq!(query_event.microseconds, None);
        let bytes = query(&[4, 8, 0, 45]);
        assert!(Query::decode(&mut Reader::new(&bytes)).is_err());
    }
}
