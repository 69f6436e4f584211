//! What holds for any bytes in this room: the properties that tests and fuzzers share.
//!
//! Each function takes bytes from an enemy, reads a choice or two off their front, and panics if a
//! promise is broken. `decoder::check_decode` is one of them. How much memory each may take per byte
//! of input is for the caller to measure.

use std::sync::Arc;

use super::compressed::{RATIO_MAX, Room};
use super::decoder::Decoder;
use super::event::Event;
use super::format::{Flavor, Format};
use super::frame::{Frame, FrameError, Framer, MAGIC, Part};
use super::header::{EventKind, FLAG_IN_USE, HEADER_LEN};
use super::payload::Payload;
use super::reader::Reader;
use super::rows::{Cell, RowsEvent};
use super::statement::Verb;
use super::table::Table;
use super::table_map::{TableMap, label_bytes, label_text};
use super::transaction::{Assembler, Step};
use super::width::{length_prefix_bytes, value_len};
use super::xid::Xid;
use crate::position::GtidSet;

/// Framing: whatever the portions, the same events; what comes out is the file itself, in order; and
/// the end is the same too. An event that comes in portions is one event all the same.
///
/// `input` is the size of the portions less 1, and a file.
pub fn check_frames(input: &[u8]) {
    let Some((portion, file)) = input.split_first() else { return };
    let whole = frames(file, file.len().max(1));
    assert_eq!(whole, frames(file, usize::from(*portion) + 1), "portions of {portion} + 1");
}

/// Lengths of the events, what is left, and how it ended.
fn frames(file: &[u8], portion: usize) -> (Vec<usize>, usize, Option<FrameError>) {
    let mut framer = Framer::new();
    let (mut lengths, mut end) = (Vec::new(), MAGIC.len());
    for part in file.chunks(portion) {
        framer.push(part);
        loop {
            match framer.next() {
                Ok(None) => break,
                Ok(Some(Frame { offset, bytes, part })) => {
                    assert_eq!(Some(bytes), file.get(end..end + bytes.len()));
                    let begun = match (part, lengths.last_mut()) {
                        (Part::Rest, Some(length)) => {
                            *length += bytes.len();
                            *length - bytes.len()
                        }
                        _ => {
                            lengths.push(bytes.len());
                            0
                        }
                    };
                    assert_eq!(offset as usize + begun, end, "frames leave nothing out");
                    end += bytes.len();
                }
                Err(error) => {
                    assert_eq!(framer.next(), Err(error), "an error stays");
                    return (lengths, file.len() - end.min(file.len()), Some(error));
                }
            }
        }
    }
    let left = framer.pending();
    assert!(lengths.is_empty() || end + left == file.len(), "nothing is lost");
    (lengths, file.len() - end.min(file.len()), None)
}

/// The version strings that decide about formats.
const VERSIONS: [&str; 8] = [
    "9.7.4",
    "8.0.33",
    "5.6.0-m4",
    "5.5.62-log",
    "5.1.4-alpha",
    "5.0.96",
    "11.8.2-MariaDB-log",
    "5.5.5-10.11.19-MariaDB",
];

/// Events behind any server's format description, with and without checksums, of any header flags.
///
/// `input` is a choice of the version (low bits), of checksums (0x08), of short table ids (0x10) and of a
/// damaged description (0x20, then its place and value), the event's type, two bytes of flags, and its body.
pub fn check_versions(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Ok(choice) = reader.u8("choice") else { return };
    let checksums = choice & 0x08 != 0;
    let mut body = format_body(choice);
    if choice & 0x20 != 0 {
        let (Ok(at), Ok(value)) = (reader.u8("place"), reader.u8("value")) else { return };
        if let Some(byte) = body.get_mut(usize::from(at)) {
            *byte = value;
        }
    }
    let mut decoder = Decoder::new();
    let description = event_bytes(EventKind::FormatDescription.code(), 0, &body, true);
    let Ok((_, Event::FormatDescription(format))) = decoder.decode(&description) else { return };
    assert!(format.server_version.len() <= 3 * 50, "no more than the bytes say");
    let (Ok(kind), Ok(flags)) = (reader.u8("type"), reader.u16("flags")) else { return };
    let event = event_bytes(kind, flags, reader.rest(), checksums);
    let Ok((header, event)) = decoder.decode(&event) else { return };
    assert_eq!(header.kind.code(), kind);
    let ignored = matches!(event, Event::Ignored(_));
    assert!(!(ignored && header.kind.carries_rows()), "rows are never left out");
    let mut assembler = Assembler::new();
    let _ = assembler.step(&header, event, 4);
}

/// A format description's body of one of the [`VERSIONS`].
fn format_body(choice: u8) -> Vec<u8> {
    let version = VERSIONS.get(usize::from(choice & 7)).copied().unwrap_or_default();
    let mut body = vec![4, 0];
    body.extend(version.bytes());
    body.resize(2 + 50 + 4, 0);
    body.push(HEADER_LEN as u8);
    // Table ids have 4 bytes where the fixed parts of TABLE_MAP and the rows events have 6.
    body.extend([if choice & 0x10 == 0 { 8 } else { 6 }; 42]);
    if !matches!(choice & 7, 2..=5) {
        body.push(u8::from(choice & 0x08 != 0));
    }
    body
}

/// A header before a body, and a checksum behind it.
fn event_bytes(kind: u8, flags: u16, body: &[u8], checksum: bool) -> Vec<u8> {
    let tail = if checksum { 4 } else { 0 };
    let length = u32::try_from(HEADER_LEN + body.len() + tail).unwrap_or(u32::MAX);
    let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(body);
    if checksum {
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    }
    bytes
}

/// TABLE_MAP → table: as many columns as types, each name where the log has names, and no label that its
/// text does not give back.
///
/// `input` is a choice of the flavor (0x01) and of short table ids (0x02), and a body.
pub fn check_table_map(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let Some(map) = table_map(*choice, body) else { return };
    let Ok(table) = map.to_table() else { return };
    assert_eq!(table.columns.len(), map.kinds.len());
    assert_eq!(map.to_table(), Ok(table.clone()), "the same again");
    let mut bytes = 0;
    for column in &table.columns {
        for text in &column.labels {
            let label = label_bytes(text);
            bytes += label.len();
            assert_eq!(label_text(&label, column.collation), *text, "a label survives its text");
        }
    }
    let names = table.names != super::table::Names::Unknown;
    bytes += if names { table.columns.iter().map(|column| column.name.len()).sum() } else { 0 };
    // An optional field may come twice; then the last one counts.
    assert!(bytes <= body.len(), "names and labels are the log's own bytes");
    assert!(table.primary_key.len() <= body.len());
}

fn table_map(choice: u8, body: &[u8]) -> Option<TableMap<'_>> {
    let flavor = if choice & 1 == 0 { Flavor::Mysql } else { Flavor::Mariadb };
    TableMap::decode(&mut Reader::new(body), flavor, choice & 2 != 0).ok()
}

/// Rows of a table that the same bytes describe: the split takes every byte once, in order, and each
/// value can be read (or is refused) and shown.
///
/// `input` is a choice as for [`check_table_map`], the length of a table map's body (u16), that body, a rows
/// event's type and its body.
pub fn check_rows(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (Ok(choice), Ok(len)) = (reader.u8("choice"), reader.u16("length")) else { return };
    let Ok(body) = reader.bytes(len.into(), "table map") else { return };
    let Some(Ok(table)) = table_map(choice, body).map(|map| map.to_table()) else { return };
    let Ok(kind) = reader.u8("type") else { return };
    let Ok(rows) = RowsEvent::decode(EventKind::from(kind), &mut reader, None) else {
        return;
    };
    let _ = split(&table, &rows);
}

/// Splits all rows; `None` if that fails.
fn split(table: &Table, rows: &RowsEvent<'_>) -> Option<usize> {
    let mut iter = rows.rows(table).ok()?;
    let (mut before, mut after, mut count) = (Vec::new(), Vec::new(), 0);
    let mut taken = 0;
    while iter.next_row(&mut before, &mut after).ok()? {
        count += 1;
        assert!(count <= rows.images.len(), "each row takes a byte at least");
        for image in [&before, &after] {
            assert!(image.is_empty() || image.len() == table.columns.len());
            for (column, cell) in table.columns.iter().zip(image) {
                let Cell::Value(bytes) = cell else { continue };
                let prefix = length_prefix_bytes(column);
                taken += prefix + bytes.len();
                if prefix == 0 {
                    assert_eq!(value_len(column, bytes), Ok(bytes.len()));
                }
                #[cfg(feature = "decode")]
                super::value::check::show(column, bytes);
            }
        }
    }
    assert!(taken <= rows.images.len(), "no byte is taken twice");
    Some(count)
}

/// Statements: a comment or blanks before a statement change nothing, and neither does the case of
/// its words.
pub fn check_statement(input: &[u8]) {
    let verb = Verb::of(input);
    assert_eq!(Verb::of(&[b"/* ' */ \n", input].concat()), verb);
    // Only `/*M!` opens MariaDB's comments.
    if !input.contains(&b'!') {
        // Names differ, and the kind does not.
        let upper = Verb::of(&input.to_ascii_uppercase());
        assert_eq!(std::mem::discriminant(&upper), std::mem::discriminant(&verb));
    }
}

/// The name of an XA transaction survives the statement that commits it, in the servers' own writing, and
/// another name has another key.
///
/// `input` is two bodies of XA_PREPARE from the format number on, one behind the other.
pub fn check_xid(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Ok(xid) = Xid::decode(&mut reader) else { return };
    let statement = format!("XA COMMIT {xid}");
    assert_eq!(Verb::of(statement.as_bytes()), Verb::XaCommit(Some(xid.clone())), "{statement}");
    let Ok(other) = Xid::decode(&mut reader) else { return };
    assert_eq!(xid == other, xid.key() == other.key());
    assert_eq!(xid == other, xid.to_string() == other.to_string());
}

/// The kinds that MariaDB compresses.
const COMPRESSED: [EventKind; 7] = [
    EventKind::QueryCompressed,
    EventKind::WriteRowsCompressedV1,
    EventKind::UpdateRowsCompressedV1,
    EventKind::DeleteRowsCompressedV1,
    EventKind::WriteRowsCompressed,
    EventKind::UpdateRowsCompressed,
    EventKind::DeleteRowsCompressed,
];

/// A compressed event is the plain one with other bytes at its end: whatever a compressed one holds, the
/// plain event with that content is the same; and what is compressed here comes back.
///
/// `input` is a choice (one of `COMPRESSED`; 0x10: the body is of the plain event) and a body.
pub fn check_compressed(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let compressed = COMPRESSED.get(usize::from(choice & 0x0f) % COMPRESSED.len()).copied();
    let Some((kind, plain)) = compressed.and_then(|kind| Some((kind, kind.uncompressed()?))) else {
        return;
    };
    let mut decoder = Decoder::unsealed(&Format::plain(Flavor::Mariadb));
    let mut room = Room::new();
    // The head is that of the plain event, so what is behind it is its content, packed or not.
    let bytes = event_bytes(plain.code(), 0, body, false);
    let Ok((_, as_plain)) = decoder.decode(&bytes) else { return };
    let content = content_of(&as_plain);
    let Some(head) = body.get(..body.len() - content.len()) else { return };
    if choice & 0x10 != 0 {
        let body = [head, &pack(content)].concat();
        let bytes = event_bytes(kind.code(), 0, &body, false);
        let unpacked = decoder.decode_in(&bytes, &mut room).map(|(_, event)| event);
        assert_eq!(unpacked, Ok(as_plain), "what is packed comes back");
        return;
    }
    let bytes = event_bytes(kind.code(), 0, body, false);
    let Ok((_, unpacked)) = decoder.decode_in(&bytes, &mut room) else { return };
    assert!(content_of(&unpacked).len() <= content.len() * RATIO_MAX);
    let bytes = event_bytes(plain.code(), 0, &[head, content_of(&unpacked)].concat(), false);
    let plain = Decoder::unsealed(&Format::plain(Flavor::Mariadb)).decode(&bytes).map(|it| it.1);
    assert_eq!(plain, Ok(unpacked), "the plain event is the same");
}

/// What of an event is compressed.
fn content_of<'a>(event: &Event<'a>) -> &'a [u8] {
    match event {
        Event::Query(query) => query.statement,
        Event::Rows(rows) => rows.images,
        _ => &[],
    }
}

/// As MariaDB packs content.
fn pack(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0x84][..], &length, &miniz_oxide::deflate::compress_to_vec_zlib(content, 1)].concat()
}

/// The sets at a file's start: a set survives its text.
///
/// `input` is a choice (0x01: MariaDB's list) and a body.
pub fn check_gtids(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let mut reader = Reader::new(body);
    let set = match choice & 1 {
        0 => super::gtid::decode_set(&mut reader),
        _ => super::gtid::decode_list(&mut reader),
    };
    let Ok(set) = set else { return };
    let text = set.to_string();
    assert_eq!(text.parse::<GtidSet>(), Ok(set), "{text}");
}

/// A whole log, event by event, through compressed transactions and events: what is stored as done is
/// never inside a transaction and never goes back, rows come only between a beginning and an end, and
/// tables only where they were defined.
///
/// `input` is a choice and a file. Checksums and lengths are put right first, unless the choice says 0x01,
/// so that what is behind them is reached.
pub fn check_log(input: &[u8]) {
    let Some((choice, file)) = input.split_first() else { return };
    let file = if choice & 1 == 0 { reseal(file) } else { file.to_vec() };
    let (mut framer, mut log, mut room) = (Framer::new(), Log::default(), Room::new());
    let mut payload = Payload::new().with_event_bytes_max(INNER_BYTES_MAX);
    framer.push(&file);
    while let Ok(Some(frame)) = framer.next() {
        let end = frame.offset + frame.bytes.len() as u64;
        let going = match frame.part {
            Part::Whole => log.event(frame.bytes, frame.offset, end, &mut room),
            Part::Head => payload
                .begin(frame.bytes, frame.offset, log.decoder.format())
                .ok()
                .and_then(|()| log.portion(&mut payload, framer.offset())),
            Part::Rest => payload
                .push(frame.bytes)
                .ok()
                .and_then(|()| log.portion(&mut payload, framer.offset())),
        };
        if going.is_none() {
            return;
        }
    }
}

/// What is small may stand for a lot, and a look at the first of it will do.
const INNER_BYTES_MAX: u32 = 256 << 10;

/// What is known of a log at some place.
#[derive(Default)]
struct Log {
    decoder: Decoder,
    assembler: Assembler,
    open: bool,
    safe: u64,
    /// Plain bytes of compressed transactions.
    unpacked: usize,
}

impl Log {
    /// An event of the file; `None` if nothing more is to be read.
    fn event(&mut self, bytes: &[u8], offset: u64, end: u64, room: &mut Room) -> Option<()> {
        let (header, event) = self.decoder.decode_in(bytes, room).ok()?;
        let step = self.assembler.step(&header, event, offset).ok()?;
        self.step(&step, end)
    }

    /// The events that come out of a portion; the event around them ends at `end`, if it has.
    fn portion(&mut self, payload: &mut Payload, end: u64) -> Option<()> {
        while payload.advance().ok()? {
            let inner = payload.event()?;
            self.unpacked += inner.bytes.len();
            let (header, event) = self.decoder.decode_inner(&inner).ok()?;
            let step = self.assembler.step(&header, event, inner.offset).ok()?;
            inner.expect_last(step.safe_offset().is_some()).ok()?;
            self.step(&step, end)?;
        }
        (self.unpacked <= INNER_BYTES_MAX as usize).then_some(())
    }

    fn step(&mut self, step: &Step<'_>, end: u64) -> Option<()> {
        if let Some(offset) = step.safe_offset() {
            assert!(offset > self.safe && offset == end);
            assert!(!self.assembler.is_inside(), "no place inside a transaction is safe");
            self.safe = offset;
        }
        match step {
            Step::Begin(_) => {
                assert!(!self.open, "a transaction inside of another one");
                self.open = true;
            }
            Step::TableMap(map) => {
                assert!(self.open);
                if self.decoder.table(map.table_id).is_none() {
                    self.decoder.define(map.table_id, Arc::new(map.to_table().ok()?));
                }
            }
            Step::Rows(rows) => {
                assert!(self.open);
                let table = self.decoder.table(rows.rows.table_id).cloned()?;
                split(&table, &rows.rows)?;
            }
            Step::Savepoint(_) | Step::RollbackTo(_) | Step::InnerDdl(_) => assert!(self.open),
            Step::Commit { .. }
            | Step::Rollback { .. }
            | Step::Prepare { .. }
            | Step::Abandoned { .. } => {
                assert!(self.open, "an end without a beginning");
                self.open = false;
            }
            Step::CommitPrepared(_) | Step::RollbackPrepared { .. } => assert!(!self.open),
            Step::Statement(_) | Step::Rotate(_) => assert!(!self.open),
            Step::LeftOut(_) | Step::Skip => {}
        }
        Some(())
    }
}

/// The file with the checksum of each event that has one put right. Events whose lengths run beyond the
/// end are left alone.
pub fn reseal(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let (mut at, mut decoder) = (MAGIC.len(), Decoder::new());
    if let Some(magic) = file.first_chunk_mut() {
        *magic = MAGIC;
    }
    loop {
        let Some(head) = file.get(at..at + HEADER_LEN) else { return file };
        let (Some(kind), Some(length)) = (head.get(4).copied(), head.get(9..13)) else {
            return file;
        };
        let length = length.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let description = kind == EventKind::FormatDescription.code();
        let Some(event) = file.get_mut(at..at.saturating_add(length)) else { return file };
        let Some((bytes, sum)) = event.split_last_chunk_mut::<4>() else { return file };
        let sealed = decoder.format().is_some_and(|f| f.checksum == super::format::Checksum::Crc32);
        if bytes.len() >= HEADER_LEN && (sealed || description) {
            let flags = bytes.get(17).copied().unwrap_or_default();
            if let (true, Some(low)) = (description, bytes.get_mut(17)) {
                *low &= !(FLAG_IN_USE as u8);
            }
            *sum = crc32fast::hash(bytes).to_le_bytes();
            if let Some(low) = bytes.get_mut(17) {
                *low = flags;
            }
        }
        if description {
            let _ = decoder.decode(event);
        }
        if length < HEADER_LEN {
            return file;
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_one_event_in_portions_of_any_size() {
        let payload = event_bytes(EventKind::TransactionPayload.code(), 0, &[7; 300], false);
        let file = [&MAGIC[..], &payload, &event_bytes(3, 0, &[], false)].concat();
        let framed = frames(&file, file.len());
        assert_eq!(framed, (vec![payload.len(), HEADER_LEN], 0, None));
        for portion in 0..=u8::MAX {
            check_frames(&[&[portion], &file[..]].concat());
        }
    }

    #[test]
    fn what_is_packed_is_what_the_plain_event_holds() {
        let mut room = Room::new();
        let statement = b"insert into t values (1)";
        let head = [9, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, b'd', 0];
        for body in [[&head[..], statement].concat(), [&head[..], &pack(statement)].concat()] {
            check_compressed(&[&[0x10], &body[..]].concat());
            check_compressed(&[&[0], &body[..]].concat());
        }
        let body = [&head[..], &pack(statement)].concat();
        let bytes = event_bytes(EventKind::QueryCompressed.code(), 0, &body, false);
        let mut decoder = Decoder::unsealed(&Format::plain(Flavor::Mariadb));
        let (_, event) = decoder.decode_in(&bytes, &mut room).unwrap();
        assert_eq!(content_of(&event), statement);
    }
}
