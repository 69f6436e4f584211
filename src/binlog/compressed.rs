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
const RATIO_MAX: usize = 1032;
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
