//! MariaDB's compressed events (`log_bin_compress`): statements and row images as zlib streams.
//!
//! ```text
//!  0x80 | method << 4 | bytes of the length: 1 … 4     plain length, big-endian | zlib stream
//! ```
//!
//! Of QUERY_COMPRESSED the statement is compressed, of the rows events what follows the bitmaps of present
//! columns; all before it is that of the plain event. Source: `binlog_buf_uncompress` in
//! `sql/log_event.cc`.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::event::Event;
use super::frame::EVENT_BYTES_MAX;
use super::header::EventKind;
use super::reader::{DecodeError, Reader, Reason};

/// A length byte of a DEFLATE match stands for 258 bytes, in two bits at best: no stream holds more than
/// this times its length.
pub(super) const RATIO_MAX: usize = 1032;
/// The first step of what is allocated, and what is kept from one event to the next.
const KEEP_BYTES: usize = 256 << 10;

/// Where the content of a compressed event is unpacked to; used again and again.
pub struct Room {
    plain: Vec<u8>,
    state: Option<Box<DecompressorOxide>>,
    event_bytes_max: u32,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("bytes", &self.plain.len()).finish_non_exhaustive()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// Takes no memory until it is needed.
    pub fn new() -> Self {
        Self { plain: Vec::new(), state: None, event_bytes_max: EVENT_BYTES_MAX }
    }

    /// The same, with another limit for the plain bytes of an event.
    #[must_use]
    pub fn with_event_bytes_max(mut self, event_bytes_max: u32) -> Self {
        self.event_bytes_max = event_bytes_max;
        self
    }

    /// Gives back what a large event needed, once another one comes.
    pub(super) fn tidy(&mut self) {
        if self.plain.capacity() > KEEP_BYTES {
            self.plain = Vec::new();
        }
    }

    /// Puts the plain content in the place of the compressed one.
    pub(super) fn unpack<'a>(&'a mut self, event: Event<'a>) -> Result<Event<'a>, DecodeError> {
        Ok(match event {
            Event::Query(mut query) => {
                query.statement = self.inflate(query.statement, "query: compressed statement")?;
                Event::Query(query)
            }
            Event::Rows(mut rows) => {
                rows.images = self.inflate(rows.images, "rows: compressed images")?;
                Event::Rows(rows)
            }
            other => other,
        })
    }

    fn inflate(&mut self, packed: &[u8], field: &'static str) -> Result<&[u8], DecodeError> {
        const ZLIB: u8 = 0x80;
        let mut reader = Reader::new(packed);
        let head = reader.u8(field)?;
        let length_len = head & 0x07;
        if head & !0x07 != ZLIB || !(1..=4).contains(&length_len) {
            return Err(reader.invalid(head.into(), field));
        }
        let length = reader.bytes(length_len.into(), field)?;
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let stream = reader.rest();
        if length > self.event_bytes_max as usize || length > stream.len().saturating_mul(RATIO_MAX)
        {
            return Err(reader.invalid(length as u64, field));
        }
        let bad = |what| Reader::new(packed).error(field, Reason::Unsupported { what });
        self.plain.clear();
        let state = self.state.get_or_insert_default();
        state.init();
        let (mut taken, mut made) = (0, 0_usize);
        loop {
            // It grows by what was made, up to what the length claims.
            let wanted = KEEP_BYTES.max(made.saturating_mul(2)).min(length);
            self.plain.reserve_exact(wanted - self.plain.len());
            self.plain.resize(wanted, 0);
            let rest = stream.get(taken..).unwrap_or_default();
            let (status, more, out) = decompress(state, rest, &mut self.plain, made, FLAGS);
            taken += more;
            made += out;
            match status {
                TINFLStatus::Done if made == length && taken == stream.len() => break,
                TINFLStatus::Done if made == length => {
                    let left = stream.len() - taken;
                    return Err(Reader::new(packed).error(field, Reason::Trailing { left }));
                }
                TINFLStatus::HasMoreOutput if made == wanted && wanted < length => {}
                TINFLStatus::Done | TINFLStatus::HasMoreOutput => {
                    return Err(reader.invalid(length as u64, field));
                }
                TINFLStatus::Adler32Mismatch => return Err(bad("zlib: a wrong checksum")),
                TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                    return Err(bad("zlib: the stream ends too early"));
                }
                _ => return Err(bad("zlib: a damaged stream")),
            }
        }
        Ok(&self.plain)
    }
}

const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
    | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32
    | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;

impl EventKind {
    /// The kind of the plain event, for a compressed one of MariaDB.
    pub(super) fn uncompressed(self) -> Option<Self> {
        Some(match self {
            Self::QueryCompressed => Self::Query,
            Self::WriteRowsCompressedV1 => Self::WriteRowsV1,
            Self::UpdateRowsCompressedV1 => Self::UpdateRowsV1,
            Self::DeleteRowsCompressedV1 => Self::DeleteRowsV1,
            Self::WriteRowsCompressed => Self::WriteRowsV2,
            Self::UpdateRowsCompressed => Self::UpdateRowsV2,
            Self::DeleteRowsCompressed => Self::DeleteRowsV2,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::decoder::Decoder;
    use super::super::rows::Operation;
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(19 + body.len()).unwrap();
        let head = [&[0, 0, 0, 0, kind, 1, 0, 0, 0][..], &length.to_le_bytes(), &[0; 6]].concat();
        [&head[..], body].concat()
    }

    fn decoder() -> Decoder {
        let version = [&b"10.11.6-MariaDB"[..], &[0; 35]].concat();
        let body = [&[4, 0][..], &version, &[0, 0, 0, 0, 19], &[8; 171], &[0; 5]].concat();
        let mut bytes = event(15, &body);
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        let mut decoder = Decoder::new();
        decoder.decode(&bytes).unwrap();
        decoder
    }

    /// As `binlog_buf_compress` writes it.
    fn packed(plain: &[u8]) -> Vec<u8> {
        let length = (plain.len() as u32).to_be_bytes();
        let zeros = length.iter().take_while(|byte| **byte == 0).count().min(3);
        let length = &length[zeros..];
        [&[0x80 | length.len() as u8][..], length, &compress_to_vec_zlib(plain, 6)].concat()
    }

    const QUERY: &[u8] = &[9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'd', 0];
    /// Table id, flags, two columns, all present.
    const ROWS: &[u8] = &[7, 0, 0, 0, 0, 0, 1, 0, 2, 3];
    const ROWS_V2: &[u8] = &[7, 0, 0, 0, 0, 0, 1, 0, 4, 0, 9, 9, 2, 3];

    #[test]
    fn a_compressed_event_reads_as_the_plain_one() {
        let (mut decoder, mut room) = (decoder(), Room::new());
        for size in [1, 200, 255, 256, 70_000, 20 << 20] {
            let content: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
            for (plain, kind, head) in [
                (2, 165, QUERY.to_vec()),
                (23, 166, ROWS.to_vec()),
                (24, 167, [ROWS, &[3]].concat()),
                (25, 168, ROWS.to_vec()),
                (30, 169, ROWS_V2.to_vec()),
                (31, 170, [ROWS_V2, &[1]].concat()),
                (32, 171, ROWS_V2.to_vec()),
            ] {
                let compressed = event(kind, &[&head[..], &packed(&content)].concat());
                let plain = event(plain, &[&head[..], &content].concat());
                let (_, want) = decoder.decode(&plain).unwrap();
                let (header, got) = decoder.decode_in(&compressed, &mut room).unwrap();
                assert!(got == want, "{kind} with {size}");
                assert_eq!(header.kind.code(), kind);
                let name = header.kind.name();
                if let Event::Rows(rows) = got {
                    let operation = ["WRITE", "UPDATE", "DELETE"][rows.operation as usize];
                    assert!(name.starts_with(operation) && name.contains("COMPRESSED"));
                }
            }
        }
        assert_eq!(Operation::Delete as usize, 2);
        decoder.decode_in(&event(2, &[QUERY, b"BEGIN"].concat()), &mut room).unwrap();
        assert_eq!(room.plain.capacity(), 0, "the largest is given back");
    }

    #[test]
    fn without_room_it_is_refused() {
        let error = decoder().decode(&event(165, &[QUERY, &packed(b"x")].concat())).unwrap_err();
        assert!(matches!(error.reason, Reason::Unsupported { .. }));
    }

    #[test]
    fn damage_is_noticed() {
        let plain: Vec<u8> = (0..2000_u32).map(|at| (at * at / 7) as u8).collect();
        let whole = packed(&plain);
        let mut room = Room::new();
        assert_eq!(room.inflate(&whole, "x").unwrap(), plain);
        for len in 0..whole.len() {
            assert!(room.inflate(&whole[..len], "x").is_err(), "cut at {len}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                // Some bits of the stream's last byte mean nothing.
                assert!(room.inflate(&bytes, "x").map_or(true, |got| got == plain), "byte {at}");
            }
        }
        for garbage in [&b"x"[..], &[0; 100]] {
            let error = room.inflate(&[&whole, garbage].concat(), "x").unwrap_err();
            assert_eq!(error.reason, Reason::Trailing { left: garbage.len() });
        }
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        let stream = compress_to_vec_zlib(&[7; 3000], 6);
        let mut room = Room::new();
        for length in [0, 2999, 3001, 30_000, 1 << 30, u32::MAX] {
            let bytes = [&[0x84][..], &length.to_be_bytes(), &stream].concat();
            assert!(room.inflate(&bytes, "x").is_err(), "{length}");
            assert!(room.plain.capacity() <= KEEP_BYTES, "{length}");
        }
        let mut room = Room::new().with_event_bytes_max(2999);
        assert!(room.inflate(&packed(&[7; 3000]), "x").is_err());
        assert!(room.inflate(&packed(&[7; 2999]), "x").is_ok());
    }

    #[test]
    fn another_method_is_refused() {
        let mut room = Room::new();
        for head in [0, 1, 0x80, 0x85, 0x87, 0x91, 0xf1, 0x89] {
            let mut bytes = packed(b"plain");
            bytes[0] = head;
            assert!(room.inflate(&bytes, "x").is_err(), "{head:#x}");
        }
    }
}
