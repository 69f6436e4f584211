//! One event's bytes → its header and what it says, checksum verified.
//!
//! The decoder remembers what events need to know of those before them: the format of the file,
//! and the tables that table maps have defined.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compressed::{RATIO_MAX, Room};
use super::event::Event;
use super::format::{Checksum, Flavor, Format};
use super::header::{EventKind, FLAG_IN_USE, HEADER_LEN, Header};
use super::old_temporal::DIGITS_UNKNOWN;
use super::payload::Inner;
use super::reader::{DecodeError, Reader, Reason};
use super::statement::Verb;
use super::table::{Column, Kind, Table};
use super::transaction::Assembler;

/// Tables that are kept; the one used longest ago goes first. A statement touches far fewer.
pub const TABLES_MAX: usize = 1024;

/// Bytes of table maps that are kept, unless there are fewer than [`TABLES_MIN`]. What is made of a map takes
/// about seven times as much memory.
const MAP_BYTES_MAX: usize = 256 << 10;
/// More than a statement can lock (61 tables in a join), so that none of its own is dropped.
const TABLES_MIN: usize = 128;

/// Decodes the events of a file or a stream, in their order.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    format: Option<Format>,
    /// A lookup costs a tenth of a hash's, for most statements touch few tables.
    tables: BTreeMap<u64, Known>,
    map_bytes: usize,
    clock: u64,
    /// What the processor can do is asked once.
    hasher: crc32fast::Hasher,
}

/// A table map as it was seen last, and what the caller made of it.
#[derive(Clone, Debug)]
struct Known {
    map: Vec<u8>,
    table: Option<Arc<Table>>,
    used: u64,
}

impl Decoder {
    /// Knows nothing yet; a format description must come before all but made-up events.
    pub fn new() -> Self {
        Self::default()
    }

    /// For events that were taken out of a log of this format and have no checksums any more.
    pub fn unsealed(format: &Format) -> Self {
        let mut format = format.clone();
        format.checksum = Checksum::Off;
        Self { format: Some(format), ..Self::default() }
    }

    /// What the last format description said.
    pub fn format(&self) -> Option<&Format> {
        self.format.as_ref()
    }

    /// The flavor of the server that wrote the log, once a format description was seen.
    pub fn flavor(&self) -> Option<Flavor> {
        self.format.as_ref().map(|format| format.flavor)
    }

    /// Decodes one whole event: header, body and checksum.
    ///
    /// A table map that differs from the last one of its id makes that table unknown, so
    /// `table(id).is_none()` behind a table map says that it must be defined again. ROTATE and
    /// FORMAT_DESCRIPTION make all of them unknown, as they do in the servers.
    ///
    /// Fails if the event is torn, changed or not understood, or cannot be carried. An event that is
    /// compressed needs room: [`Self::decode_in`].
    pub fn decode<'a>(&mut self, event: &'a [u8]) -> Result<(Header, Event<'a>), DecodeError> {
        self.decode_whole(event, None)
    }

    /// The same, with room for the content of an event that is compressed (`log_bin_compress`). The header
    /// keeps its kind; what comes out is an ordinary statement, or ordinary rows.
    pub fn decode_in<'a>(
        &mut self,
        event: &'a [u8],
        room: &'a mut Room,
    ) -> Result<(Header, Event<'a>), DecodeError> {
        room.tidy();
        self.decode_whole(event, Some(room))
    }

    /// Decodes an event out of a TRANSACTION_PAYLOAD. The length and the end in its header are those of the
    /// event around it, for its place in the file is that event's.
    ///
    /// Fails as [`Self::decode`], and on events that are about a file, a stream or another transaction.
    pub fn decode_inner<'a>(
        &mut self,
        inner: &Inner<'a>,
    ) -> Result<(Header, Event<'a>), DecodeError> {
        let mut reader = Reader::new(inner.bytes);
        let header = Header::decode(&mut reader)?;
        if header.length as usize != inner.bytes.len() {
            return Err(reader.invalid(header.length.into(), "header: length"));
        }
        if !header.kind.is_of_a_transaction() {
            let reason = Reason::OutOfPlace { kind: header.kind, when: "inside a payload" };
            return Err(reader.error("event", reason));
        }
        let Header { length, end_position, .. } = inner.outer;
        let event = Event::decode(&header, self.format.as_ref(), reader.rest())?;
        self.note(&event);
        Ok((Header { length, end_position, ..header }, event))
    }

    fn decode_whole<'a>(
        &mut self,
        event: &'a [u8],
        room: Option<&'a mut Room>,
    ) -> Result<(Header, Event<'a>), DecodeError> {
        let mut reader = Reader::new(event);
        let header = Header::decode(&mut reader)?;
        if header.length as usize != event.len() {
            return Err(reader.invalid(header.length.into(), "header: length"));
        }
        if header.kind == EventKind::StartV3 {
            return Err(reader.error("event", Reason::Unsupported { what: BEFORE_5_0 }));
        }
        if header.kind == EventKind::FormatDescription {
            let format = Format::decode(reader.rest())?;
            // Where a stream begins in the middle of a file, the sender changes the event, and computes
            // the checksum anew only if the session asked for one.
            let as_written = header.end_position != 0 || format.checksum == Checksum::Crc32;
            if format.self_checksummed && as_written {
                verify(&self.hasher, event, header.flags & FLAG_IN_USE != 0)?;
            }
            self.format = Some(format.clone());
            self.forget_tables();
            return Ok((header, Event::FormatDescription(Box::new(format))));
        }
        let body = self.body(&header, event)?;
        let format = self.format.as_ref();
        if let Some(room) = room
            && let Some(kind) = header.kind.uncompressed()
        {
            let event = room.unpack(Event::decode(&Header { kind, ..header }, format, body)?)?;
            self.note(&event);
            return Ok((header, event));
        }
        // An event is moved once.
        match Event::decode(&header, format, body) {
            Ok(event) => {
                self.note(&event);
                Ok((header, event))
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers what later events need to know of this one.
    #[inline(always)]
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::TableMap(map) => self.remember(map.table_id, map.body),
            Event::Rotate { .. } => self.forget_tables(),
            _ => {}
        }
    }

    /// The bytes between header and checksum.
    fn body<'a>(&self, header: &Header, event: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        // What a sender makes up ends as the session asked for, which the file's format does not
        // tell, and may come before any format.
        let made_up = header.is_artificial() && header.kind == EventKind::Rotate
            || matches!(header.kind, EventKind::Heartbeat | EventKind::HeartbeatV2);
        let with_checksum = match &self.format {
            _ if made_up && verify(&self.hasher, event, false).is_ok() => true,
            Some(format) => format.checksum == Checksum::Crc32,
            None if made_up => false,
            None => {
                let what = "a format description before it";
                return Err(Reader::new(event).error("event", Reason::Missing { what }));
            }
        };
        let tail = if with_checksum { CHECKSUM_LEN } else { 0 };
        if with_checksum {
            verify(&self.hasher, event, false)?;
        }
        let end = event.len().saturating_sub(tail);
        event.get(HEADER_LEN..end).ok_or_else(|| {
            let reason = Reason::Truncated { wanted: HEADER_LEN + tail, left: event.len() };
            Reader::new(event).error("event", reason)
        })
    }

    /// Says what the table with this id is, from now on and until its table map changes.
    pub fn define(&mut self, table_id: u64, table: Arc<Table>) {
        let used = self.tick();
        let new = || Known { map: Vec::new(), table: None, used };
        self.tables.entry(table_id).or_insert_with(new).table = Some(table);
    }

    /// The table with this id, if it was defined since its table map came first or changed.
    pub fn table(&self, table_id: u64) -> Option<&Arc<Table>> {
        self.tables.get(&table_id)?.table.as_ref()
    }

    /// Whether the table with this id is defined and its last table map had these bytes
    /// (`TableMap::body`), so that the schema need not be built again.
    pub fn same_map(&self, table_id: u64, map: &[u8]) -> bool {
        self.tables.get(&table_id).is_some_and(|known| known.table.is_some() && known.map == map)
    }

    /// Makes all tables unknown, so that each is defined anew at its next table map.
    pub fn forget_tables(&mut self) {
        self.tables.clear();
        self.map_bytes = 0;
    }

    fn remember(&mut self, table_id: u64, map: &[u8]) {
        let used = self.tick();
        if let Some(known) = self.tables.get_mut(&table_id) {
            known.used = used;
            if known.map != map {
                self.map_bytes = self.map_bytes - known.map.len() + map.len();
                known.map.clear();
                known.map.extend_from_slice(map);
                known.table = None;
            }
            return;
        }
        self.make_room(map.len());
        self.map_bytes += map.len();
        self.tables.insert(table_id, Known { map: map.to_vec(), table: None, used });
    }

    fn make_room(&mut self, bytes: usize) {
        while self.tables.len() >= TABLES_MAX
            || self.tables.len() >= TABLES_MIN && self.map_bytes + bytes > MAP_BYTES_MAX
        {
            let oldest = self.tables.iter().min_by_key(|(_, known)| known.used);
            let Some(id) = oldest.map(|(id, _)| *id) else { return };
            if let Some(known) = self.tables.remove(&id) {
                self.map_bytes -= known.map.len();
            }
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// The bytes of the CRC32 at the end of an event.
pub const CHECKSUM_LEN: usize = 4;

/// Version 1 is that of MySQL 3.23, version 3 that of 4.0 and 4.1.
const BEFORE_5_0: &str = "a log of binlog version 1 to 3, from a server before MySQL 5.0: it holds \
                          statements, and row events were not yet invented";

/// Compares the CRC32 at the end with that of the bytes before it. The server computes a format
/// description's before it sets the IN_USE flag.
fn verify(hasher: &crc32fast::Hasher, event: &[u8], clear_in_use: bool) -> Result<(), DecodeError> {
    let Some((bytes, stored)) = event.split_last_chunk::<CHECKSUM_LEN>() else {
        let reason = Reason::Truncated { wanted: CHECKSUM_LEN, left: event.len() };
        return Err(Reader::new(event).error("checksum", reason));
    };
    let stored = u32::from_le_bytes(*stored);
    let mut hasher = hasher.clone();
    match bytes.split_at_checked(FLAGS_AT) {
        Some((head, [flags, rest @ ..])) if clear_in_use => {
            hasher.update(head);
            hasher.update(&[flags & !(FLAG_IN_USE as u8)]);
            hasher.update(rest);
        }
        _ => hasher.update(bytes),
    }
    let computed = hasher.finalize();
    if computed == stored {
        return Ok(());
    }
    let reason = Reason::Checksum { stored, computed };
    Err(Reader::starting_at(&[], bytes.len()).error("checksum", reason))
}

/// The low byte of the flags, in the header.
const FLAGS_AT: usize = 17;

/// The property that tests and fuzzers share: whatever the body of an event of whatever kind, in
/// either flavor, decoding ends without a panic and makes no bytes and no rows from nothing.
///
/// `input` is a type byte and a body.
pub fn check_decode(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let event = event_bytes(*kind, body);
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let mut decoder = Decoder { format: Some(Format::plain(flavor)), ..Decoder::new() };
        let mut room = Room::new();
        let Ok((header, event)) = decoder.decode_in(&event, &mut room) else { continue };
        // A compressed event may hold more than its bytes, and not more than they can stand for.
        let ratio = header.kind.uncompressed().map_or(1, |_| RATIO_MAX);
        let content_max = body.len() * ratio;
        match &event {
            Event::TableMap(map) => {
                assert!(map.body.len() <= body.len() && map.kinds.len() <= map.body.len());
                if let Ok(table) = map.to_table() {
                    assert_eq!(table.columns.len(), map.kinds.len());
                    decoder.define(map.table_id, Arc::new(table));
                    assert!(decoder.same_map(map.table_id, map.body));
                }
            }
            Event::Rows(rows) => {
                assert!(rows.images.len() + rows.before_present.len() <= content_max);
                check_rows(rows);
            }
            Event::Query(query) => {
                assert!(query.statement.len() + query.database.len() <= content_max);
                Verb::of(query.statement);
            }
            _ => {}
        }
        // Alone, no event commits anything that began before it.
        let step = Assembler::new().step(&header, event, 4);
        assert!(!matches!(step, Ok(super::transaction::Step::Commit { .. })));
    }
}

fn check_rows(rows: &super::rows::RowsEvent<'_>) {
    const KINDS: [(Kind, u16); 7] = [
        (Kind::Long, 0),
        (Kind::Varchar, 20),
        (Kind::Blob, 3),
        (Kind::NewDecimal, 0x020a),
        (Kind::Bit, 0x0103),
        (Kind::Json, 4),
        (Kind::Time, DIGITS_UNKNOWN),
    ];
    let kinds = KINDS.iter().cycle().take(rows.column_count);
    let column =
        |(kind, meta): &(Kind, u16)| Column { kind: *kind, meta: *meta, ..Column::default() };
    let table = Table { columns: kinds.map(column).collect(), ..Table::default() };
    let Ok(mut iter) = rows.rows(&table) else { return };
    let (mut before, mut after, mut count) = (Vec::new(), Vec::new(), 0);
    while iter.next_row(&mut before, &mut after) == Ok(true) {
        count += 1;
        assert!(count <= rows.images.len());
        assert!(before.is_empty() || before.len() == rows.column_count);
        assert!(after.is_empty() || after.len() == rows.column_count);
    }
}

/// A header before a body.
fn event_bytes(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event with a CRC32 behind it.
    fn sealed(kind: u8, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = event_bytes(kind, body);
        let length = u32::try_from(bytes.len() + CHECKSUM_LEN).unwrap();
        bytes[9..13].copy_from_slice(&length.to_le_bytes());
        bytes[17..19].copy_from_slice(&flags.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn format_event(algorithm: u8, flags: u16) -> Vec<u8> {
        let mut body = vec![4, 0];
        let mut version = b"9.7.4".to_vec();
        version.resize(50, 0);
        body.extend(version);
        body.extend([1, 0, 0, 0, 19]);
        body.extend([8; 41]);
        body.push(algorithm);
        let mut bytes = sealed(15, 0, &body);
        // The server sets its flags when the checksum stands.
        bytes[17..19].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    const MAP: &[u8] = &[7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 3, 0, 0];

    fn rotate() -> Vec<u8> {
        [&4_u64.to_le_bytes()[..], b"binlog.000002"].concat()
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(1, 0)).unwrap();
        let whole = sealed(16, 0, &[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoder.decode(&whole).unwrap().1, Event::Xid(1));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            assert!(decoder.decode(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_file_in_use_has_the_checksum_of_a_closed_one() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(1, FLAG_IN_USE)).unwrap();
        decoder.decode(&format_event(0, FLAG_IN_USE)).unwrap();
        let error = decoder.decode(&format_event(1, 8)).unwrap_err();
        assert!(matches!(error.reason, Reason::Checksum { .. }));
    }

    #[test]
    fn a_made_up_rotate_may_come_first_with_or_without_a_checksum() {
        let want = Event::Rotate { offset: 4, next_file: b"binlog.000002" };
        let with = sealed(4, 0x20, &rotate());
        let mut without = event_bytes(4, &rotate());
        without[17] = 0x20;
        for bytes in [&with, &without] {
            assert_eq!(Decoder::new().decode(bytes).unwrap().1, want);
        }
        without[17] = 0;
        let error = Decoder::new().decode(&without).unwrap_err();
        assert!(matches!(error.reason, Reason::Missing { .. }));
    }

    #[test]
    fn a_table_is_known_until_its_map_changes() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(0, 0)).unwrap();
        let map = event_bytes(19, MAP);
        decoder.decode(&map).unwrap();
        assert!(decoder.table(7).is_none() && !decoder.same_map(7, &MAP[6..]));
        decoder.define(7, Arc::new(Table::default()));
        decoder.decode(&map).unwrap();
        assert!(decoder.table(7).is_some() && decoder.same_map(7, &MAP[6..]));
        let mut other = map.clone();
        *other.last_mut().unwrap() = 1;
        decoder.decode(&other).unwrap();
        assert!(decoder.table(7).is_none());
        decoder.define(7, Arc::new(Table::default()));
        decoder.decode(&event_bytes(4, &rotate())).unwrap();
        assert!(decoder.table(7).is_none());
    }

    #[test]
    fn tables_are_bounded_and_the_oldest_goes_first() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(0, 0)).unwrap();
        for id in 0..u32::try_from(TABLES_MAX).unwrap() + 10 {
            let mut map = MAP.to_vec();
            map[..4].copy_from_slice(&id.to_le_bytes());
            decoder.decode(&event_bytes(19, &map)).unwrap();
            decoder.define(id.into(), Arc::new(Table::default()));
        }
        assert_eq!(decoder.tables.len(), TABLES_MAX);
        assert!(decoder.table(9).is_none() && decoder.table(10).is_some());
        assert_eq!(decoder.map_bytes, TABLES_MAX * (MAP.len() - 6));
    }

    #[test]
    fn heartbeats_of_both_kinds_are_understood() {
        let mut decoder = Decoder::new();
        let old = sealed(27, 0x20, b"binlog.000002");
        let want = Event::Heartbeat { file: b"binlog.000002", position: None };
        assert_eq!(decoder.decode(&old).unwrap().1, want);
        let new = sealed(41, 0x20, &[1, 2, b'b', b'l', 2, 3, 0xfc, 0, 1, 0]);
        let want = Event::Heartbeat { file: b"bl", position: Some(256) };
        assert_eq!(decoder.decode(&new).unwrap().1, want);
    }

    #[test]
    fn encryption_stops_a_file_and_not_a_stream() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(0, 0)).unwrap();
        let mut bytes = event_bytes(164, &[1; 17]);
        let error = decoder.decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("through the server"));
        bytes[17] = 0x80;
        let (_, event) = decoder.decode(&bytes).unwrap();
        assert_eq!(event, Event::Ignored(EventKind::StartEncryption));
    }

    #[test]
    fn what_may_carry_rows_is_never_left_out() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(0, 0)).unwrap();
        for code in 0..=255_u8 {
            let mut bytes = event_bytes(code, &[]);
            bytes[17] = 0x80;
            let carries = EventKind::from(code).carries_rows();
            if let Ok((_, Event::Ignored(kind))) = decoder.decode(&bytes) {
                assert!(!carries, "{kind:?}");
            }
            bytes[17] = 0;
            if matches!(EventKind::from(code), EventKind::Unknown(_)) {
                assert!(decoder.decode(&bytes).is_err(), "{code}");
            }
        }
    }

    #[test]
    fn a_statement_s_context_is_harmless_and_a_load_is_a_statement() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(0, 0)).unwrap();
        let variable = [1, 0, 0, 0, b'v', 0, 2, 8, 0, 0, 0, 1, 0, 0, 0, 9];
        for (code, body) in [
            (5, &[2, 9, 0, 0, 0, 0, 0, 0, 0][..]),
            (13, &[1; 16]),
            (14, &variable),
            (14, &[1, 0, 0, 0, b'v', 1]),
            (8, &[1; 30]),
            (9, &[1, 0, 0, 0, b'a']),
            (11, &[1, 0, 0, 0]),
            (17, &[1, 0, 0, 0, b'a']),
        ] {
            let bytes = event_bytes(code, body);
            let want = Event::Ignored(EventKind::from(code));
            assert_eq!(decoder.decode(&bytes).unwrap().1, want, "{code}");
            for len in 0..body.len().min(4) {
                assert!(decoder.decode(&event_bytes(code, &body[..len])).is_err(), "{code} {len}");
            }
        }
        for len in 0..9 {
            assert!(decoder.decode(&event_bytes(5, &[1; 9][..len])).is_err());
        }
        for len in 0..variable.len() {
            let bytes = event_bytes(14, &variable[..len]);
            assert!(decoder.decode(&bytes).is_err(), "{len}");
        }
        let load = [&[0; 13][..], &[1; 13], b"\0LOAD DATA INFILE 'f'"].concat();
        let bytes = event_bytes(18, &load);
        let (_, event) = decoder.decode(&bytes).unwrap();
        let Event::LoadData { statement: Some(statement) } = event else { panic!("{event:?}") };
        assert_eq!(statement.statement, b"LOAD DATA INFILE 'f'");
        for code in [6, 10, 12] {
            let bytes = event_bytes(code, &[1; 30]);
            assert_eq!(decoder.decode(&bytes).unwrap().1, Event::LoadData { statement: None });
        }
    }

    #[test]
    fn an_incident_says_what_the_server_lost() {
        let mut decoder = Decoder::new();
        decoder.decode(&format_event(1, 0)).unwrap();
        let bytes = sealed(26, 0, &[1, 0, 4, b'f', b'u', b'l', b'l']);
        let (_, Event::Incident(incident)) = decoder.decode(&bytes).unwrap() else {
            panic!("an incident")
        };
        let text = incident.to_string();
        assert!(text.starts_with("INCIDENT 1: ") && text.ends_with("`full`"), "{text}");
        assert!(decoder.decode(&sealed(26, 0, &[1, 0, 4, b'f'])).is_err());
    }

    #[test]
    fn logs_from_before_mysql_5_0_are_refused_with_the_reason() {
        // Version 1 has a header of 13 bytes, version 3 one of 19.
        for body_len in [50, 56] {
            let error = Decoder::new().decode(&event_bytes(1, &vec![3; body_len])).unwrap_err();
            assert!(error.to_string().contains("before MySQL 5.0"), "{error}");
        }
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_does_harm() {
        let query = [
            &[9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 36, 0][..],
            &[
                0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 3, b's', b't', b'd', 4, 8, 0, 8, 0, 8,
                0,
            ],
            &[5, 1, b'U', 12, 1, b'd', 0, 13, 1, 2],
            b"d\0/*!50100 CREATE*/ TABLE `t` (a int) -- x",
        ]
        .concat();
        let rows = [7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 3, 3, 0, 5, 0, 0, 0, 1, b'a', 2, 6, 0, 0, 0];
        let map = [MAP, &[1, 1, 0x80, 4, 2, 1, b'i', 8, 1, 0, 12, 1, 0x80]].concat();
        let packed = |plain: &[u8]| {
            let stream = miniz_oxide::deflate::compress_to_vec_zlib(plain, 6);
            [&[0x81, plain.len() as u8][..], &stream].concat()
        };
        let compressed_query = [&query[..51], &packed(b"INSERT INTO t VALUES (1)")].concat();
        let compressed_rows = [&[7, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1][..], &packed(&[0; 90])].concat();
        let set = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[9; 16], &[0; 24]].concat();
        let samples: &[(u8, &[u8])] = &[
            (2, &query),
            (4, &rotate()),
            (19, &map),
            (31, &rows),
            (39, &rows),
            (26, &[1, 0, 2, b'n', b'o']),
            (14, &[1, 0, 0, 0, b'v', 0, 2, 8, 0, 0, 0, 1, 0, 0, 0, 9, 0]),
            (18, &[&query[..13], &[0; 13], &query[13..]].concat()),
            (24, &rows),
            (35, &set),
            (33, &[2; 60]),
            (42, &[0; 60]),
            (162, &[0xff; 40]),
            (163, &[1; 40]),
            (38, &[1; 80]),
            (41, &[1; 12]),
            (161, &[1; 12]),
            (165, &compressed_query),
            (167, &compressed_rows),
        ];
        for (kind, body) in samples {
            let whole = [&[*kind], *body].concat();
            for len in 0..=whole.len() {
                check_decode(&whole[..len]);
            }
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                    check_decode(&bytes);
                }
            }
        }
    }
}
