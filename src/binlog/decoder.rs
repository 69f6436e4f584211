//! One event's bytes → its header and what it says, checksum verified.
//!
//! The decoder remembers what events need to know of those before them: the format of the file,
//! and the tables that table maps have defined.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::Event;
use super::format::{Checksum, Flavor, Format};
use super::header::{EventKind, FLAG_IN_USE, HEADER_LEN, Header};
use super::reader::{DecodeError, Reader, Reason};
use super::table::Table;

/// Tables that are kept; the one used longest ago goes first. A statement touches far fewer.
pub const TABLES_MAX: usize = 1024;

/// Bytes of table maps that are kept, unless there are fewer than [`TABLES_MIN`].
const MAP_BYTES_MAX: usize = 1 << 20;
/// More than a statement can lock (61 tables in a join), so that none of its own is dropped.
const TABLES_MIN: usize = 128;

/// Decodes the events of a file or a stream, in their order.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    format: Option<Format>,
    tables: HashMap<u64, Known>,
    map_bytes: usize,
    clock: u64,
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
    /// Fails if the event is torn, changed or not understood, or cannot be carried.
    pub fn decode<'a>(&mut self, event: &'a [u8]) -> Result<(Header, Event<'a>), DecodeError> {
        let mut reader = Reader::new(event);
        let header = Header::decode(&mut reader)?;
        if header.length as usize != event.len() {
            return Err(reader.invalid(header.length.into(), "header: length"));
        }
        if header.kind == EventKind::FormatDescription {
            let format = Format::decode(reader.rest())?;
            if format.self_checksummed {
                verify(event, header.flags & FLAG_IN_USE != 0)?;
            }
            self.format = Some(format.clone());
            self.forget_tables();
            return Ok((header, Event::FormatDescription(Box::new(format))));
        }
        let body = self.body(&header, event)?;
        let event = Event::decode(&header, self.format.as_ref(), body)?;
        match &event {
            Event::TableMap(map) => self.remember(map.table_id, map.body),
            Event::Rotate { .. } => self.forget_tables(),
            _ => {}
        }
        Ok((header, event))
    }

    /// The bytes between header and checksum.
    fn body<'a>(&self, header: &Header, event: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        // What a sender makes up ends as the session asked for, which the file's format does not
        // tell, and may come before any format.
        let made_up = header.is_artificial() && header.kind == EventKind::Rotate
            || matches!(header.kind, EventKind::Heartbeat | EventKind::HeartbeatV2);
        let with_checksum = match &self.format {
            _ if made_up && verify(event, false).is_ok() => true,
            Some(format) => format.checksum == Checksum::Crc32,
            None if made_up => false,
            None => {
                let what = "a format description before it";
                return Err(Reader::new(event).error("event", Reason::Missing { what }));
            }
        };
        let tail = if with_checksum { CHECKSUM_LEN } else { 0 };
        if with_checksum {
            verify(event, false)?;
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

const CHECKSUM_LEN: usize = 4;

/// Compares the CRC32 at the end with that of the bytes before it. The server computes a format
/// description's before it sets the IN_USE flag.
fn verify(event: &[u8], clear_in_use: bool) -> Result<(), DecodeError> {
    let Some((bytes, stored)) = event.split_last_chunk::<CHECKSUM_LEN>() else {
        let reason = Reason::Truncated { wanted: CHECKSUM_LEN, left: event.len() };
        return Err(Reader::new(event).error("checksum", reason));
    };
    let stored = u32::from_le_bytes(*stored);
    let mut hasher = crc32fast::Hasher::new();
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
