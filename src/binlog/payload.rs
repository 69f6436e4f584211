//! A compressed transaction, TRANSACTION_PAYLOAD: its bytes, as they arrive → the events in it.
//!
//! ```text
//!  header | type, length, value | … | 0 | payload | checksum
//!           1: bytes of the payload        │
//!           2: 0 zstd, 255 not compressed  └──► event | event | …   without checksums, their end
//!           3: bytes of the plain events                            positions 0
//! ```
//!
//! A server compresses a whole transaction into one event, so neither the event nor its content is ever
//! held: a portion of the one and an event of the other are. The types, lengths and values are
//! length-encoded integers. Source: `libs/mysql/binlog/event/codecs/binary.cpp`,
//! `libs/mysql/binlog/event/compression/`.
//!
//! The last event in it, which is the commit, comes only once the checksum of the outer event has been
//! verified and all lengths have proven true. So rows may turn out to be damaged after they were handed out,
//! and a committed transaction never does.

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::decoder::CHECKSUM_LEN;
use super::format::{Checksum, Format};
use super::frame::EVENT_BYTES_MAX;
use super::header::{EventKind, HEADER_LEN, Header};
use super::reader::{DecodeError, Reader, Reason};

/// The largest window of zstd that is accepted, as a power of two: 128 MiB, the servers' level 22.
const WINDOW_LOG_MAX: u32 = 27;
/// The servers write four fields of a few bytes; fields that are not known may take so much.
const FIELDS_BYTES_MAX: usize = 1024;
/// Plain bytes are produced in steps of at least this, and at most this and the step before.
const STEP: usize = 64 << 10;
/// Buffers and contexts beyond this are given back when what needed them is done.
const KEEP_BYTES: usize = 512 << 10;

/// Takes a compressed transaction apart. One serves all of a log, one after the other.
#[derive(Debug)]
pub struct Payload {
    open: Option<Open>,
    /// What of the last portion is still compressed, from `input_at` on.
    input: Vec<u8>,
    input_at: usize,
    /// `plain[start..end]` are plain bytes that were not handed out, but for the event at hand.
    plain: Vec<u8>,
    start: usize,
    end: usize,
    /// The length of the event at hand, from `start` on, and the header of the event that it is in.
    at_hand: Option<(usize, Header, u64)>,
    zstd: Context,
    event_bytes_max: u32,
}

/// An event of which not all has been handed out.
#[derive(Debug)]
struct Open {
    header: Header,
    /// Where it starts in its file.
    offset: u64,
    /// Bytes of it that have not arrived.
    missing: usize,
    checksum: Option<Sum>,
    /// Header and fields, until the fields have all arrived.
    head: Vec<u8>,
    fields: Option<Fields>,
    /// Plain bytes produced so far.
    produced: u64,
    /// Events handed out so far.
    events: u64,
    /// The compressed bytes so far are whole frames.
    whole_frames: bool,
}

#[derive(Debug)]
struct Sum {
    hasher: crc32fast::Hasher,
    /// What the event's end says, as far as it has arrived.
    stored: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Fields {
    compressed: bool,
    /// Plain bytes, if the event says how many.
    plain_len: Option<u64>,
}

/// An event of a transaction that is taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    /// Header and body; there is no checksum.
    pub bytes: &'a [u8],
    /// The header of the event that it is in.
    pub outer: Header,
    /// Where the event that it is in starts in its file.
    pub offset: u64,
    /// It is the last one, and all of the outer event has been verified.
    pub last: bool,
}

impl Inner<'_> {
    /// Fails if it `commits` something although it is not the last one: what was not verified must not be
    /// committed.
    pub fn expect_last(&self, commits: bool) -> Result<(), DecodeError> {
        match self.kind() {
            Some(kind) if commits && !self.last => {
                let reason = Reason::OutOfPlace { kind, when: "before the end of its payload" };
                Err(Reader::new(self.bytes).error("payload", reason))
            }
            _ => Ok(()),
        }
    }

    /// Its kind, without a look at the rest.
    pub fn kind(&self) -> Option<EventKind> {
        self.bytes.get(4).map(|code| EventKind::from(*code))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::new()
    }
}

impl Payload {
    /// Nothing is open yet.
    pub fn new() -> Self {
        Self {
            open: None,
            input: Vec::new(),
            input_at: 0,
            plain: Vec::new(),
            start: 0,
            end: 0,
            at_hand: None,
            zstd: Context::default(),
            event_bytes_max: EVENT_BYTES_MAX,
        }
    }

    /// The same, with another limit for the bytes of an event inside.
    #[must_use]
    pub fn with_event_bytes_max(mut self, event_bytes_max: u32) -> Self {
        self.event_bytes_max = event_bytes_max;
        self
    }

    /// Whether a part of it has not arrived, or has not been handed out.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The header of the open one, and where it starts in its file.
    pub fn outer(&self) -> Option<(&Header, u64)> {
        self.open.as_ref().map(|open| (&open.header, open.offset))
    }

    /// Forgets the open one.
    pub fn abandon(&mut self) {
        self.open = None;
        self.at_hand = None;
        self.tidy();
    }

    /// Begins with the first bytes of a TRANSACTION_PAYLOAD, at least its header.
    ///
    /// Fails if one is open, if the format of the file is not known, or as [`Self::push`].
    pub fn begin(
        &mut self,
        portion: &[u8],
        offset: u64,
        format: Option<&Format>,
    ) -> Result<(), DecodeError> {
        self.expect_closed()?;
        let mut reader = Reader::new(portion);
        let header = Header::decode(&mut reader)?;
        let Some(format) = format else {
            let what = "a format description before it";
            return Err(reader.error("event", Reason::Missing { what }));
        };
        let tail = if format.checksum == Checksum::Crc32 { CHECKSUM_LEN } else { 0 };
        if header.kind != EventKind::TransactionPayload {
            return Err(reader.invalid(header.kind.code().into(), "payload: event type"));
        }
        if (header.length as usize) < HEADER_LEN + tail {
            return Err(reader.invalid(header.length.into(), "header: length"));
        }
        self.tidy();
        self.zstd.reset();
        self.open = Some(Open {
            header,
            offset,
            missing: header.length as usize,
            checksum: (tail > 0)
                .then(|| Sum { hasher: crc32fast::Hasher::new(), stored: Vec::new() }),
            head: Vec::new(),
            fields: None,
            produced: 0,
            events: 0,
            whole_frames: true,
        });
        self.push(portion)
    }

    /// Takes the next bytes of the open one, once [`Self::advance`] said that it needs some.
    ///
    /// Fails if none is open, if they are too many, if the fields make no sense, and, with the last bytes, if
    /// the checksum is not that of the bytes.
    pub fn push(&mut self, portion: &[u8]) -> Result<(), DecodeError> {
        let none = |left| Reader::new(&[]).error("payload", Reason::Trailing { left });
        let Some(open) = &mut self.open else { return Err(none(portion.len())) };
        if portion.len() > open.missing {
            return Err(none(portion.len() - open.missing));
        }
        let tail = if open.checksum.is_some() { CHECKSUM_LEN } else { 0 };
        let guarded = portion.len().min(open.missing.saturating_sub(tail));
        let (guarded, stored) = portion.split_at_checked(guarded).unwrap_or((portion, &[]));
        open.missing -= portion.len();
        if let Some(sum) = &mut open.checksum {
            sum.hasher.update(guarded);
            sum.stored.extend_from_slice(stored);
        }
        open.verify()?;
        self.input.drain(..self.input_at);
        self.input_at = 0;
        if open.fields.is_some() {
            self.input.extend_from_slice(guarded);
            return Ok(());
        }
        open.head.extend_from_slice(guarded);
        open.read_fields(&mut self.input)
    }

    /// Moves on to the next event, [`Self::event`]. False if there is none: then the next portion is needed
    /// if [`Self::is_open`], and all has been handed out if not.
    ///
    /// Fails if the content is damaged, or is not what the lengths say; the open one is then to be abandoned.
    pub fn advance(&mut self) -> Result<bool, DecodeError> {
        if let Some((length, ..)) = self.at_hand.take() {
            self.start += length;
        }
        loop {
            let Some(open) = &mut self.open else { return Ok(false) };
            let held = self.plain.get(self.start..self.end).unwrap_or_default();
            let length = inner_length(held, self.event_bytes_max)?;
            // With a byte behind it, it is not the last one; that waits for the end.
            if let Some(length) = length.filter(|length| *length < held.len()) {
                open.events += 1;
                self.at_hand = Some((length, open.header, open.offset));
                return Ok(true);
            }
            let progress = self.produce()?;
            if progress {
                continue;
            }
            return self.last();
        }
    }

    /// The event that [`Self::advance`] found.
    pub fn event(&self) -> Option<Inner<'_>> {
        let (length, outer, offset) = self.at_hand?;
        let bytes = self.plain.get(self.start..self.start + length)?;
        Some(Inner { bytes, outer, offset, last: self.open.is_none() })
    }

    /// Fails if one is open: then its end is missing, and something else came.
    pub fn expect_closed(&self) -> Result<(), DecodeError> {
        let Some(open) = &self.open else { return Ok(()) };
        let wanted = open.header.length as usize;
        let reason = Reason::Truncated { wanted, left: wanted - open.missing };
        Err(Reader::new(&[]).error("payload", reason))
    }

    /// Nothing more comes of what has arrived: the last event, if all has.
    fn last(&mut self) -> Result<bool, DecodeError> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.missing > 0 {
            return Ok(false);
        }
        let Some(fields) = open.fields else {
            return Err(open.error("payload: fields", Reason::Missing { what: "their end" }));
        };
        let left = self.input.len() - self.input_at;
        if left > 0 {
            return Err(open.error("payload", Reason::Trailing { left }));
        }
        if !open.whole_frames {
            return Err(open.error("payload", Reason::Missing { what: "the end of a zstd frame" }));
        }
        if let Some(wanted) = fields.plain_len.filter(|plain_len| *plain_len != open.produced) {
            return Err(open.error("payload: plain length", Reason::Invalid { value: wanted }));
        }
        let held = self.plain.get(self.start..self.end).unwrap_or_default();
        match inner_length(held, self.event_bytes_max)? {
            Some(length) if length == held.len() => {
                self.at_hand = Some((length, open.header, open.offset));
                self.open = None;
                Ok(true)
            }
            _ if held.is_empty() => {
                Err(open.error("payload", Reason::Missing { what: "an event in it" }))
            }
            length => {
                let wanted = length.unwrap_or(HEADER_LEN);
                let reason = Reason::Truncated { wanted, left: held.len() };
                Err(open.error("payload: event", reason))
            }
        }
    }

    /// Makes plain bytes of what has arrived. False if none come of it.
    fn produce(&mut self) -> Result<bool, DecodeError> {
        self.make_room();
        let Some(open) = &mut self.open else { return Ok(false) };
        let Some(fields) = open.fields else { return Ok(false) };
        let input = self.input.get(self.input_at..).unwrap_or_default();
        let room = self.plain.get_mut(self.end..).unwrap_or_default();
        let (taken, made) = if fields.compressed {
            let Step { taken, made, frame_ended } =
                self.zstd.step(input, room).map_err(|reason| open.error("payload", reason))?;
            if taken + made > 0 {
                open.whole_frames = frame_ended;
            }
            (taken, made)
        } else {
            let count = input.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), input.get(..count)) {
                to.copy_from_slice(from);
            }
            (count, count)
        };
        self.input_at += taken;
        self.end += made;
        open.produced += made as u64;
        if let Some(plain_len) = fields.plain_len.filter(|plain_len| *plain_len < open.produced) {
            return Err(open.error("payload: plain length", Reason::Invalid { value: plain_len }));
        }
        Ok(taken + made > 0)
    }

    /// Room for a step of plain bytes behind those that are held. What is held is less than an event.
    fn make_room(&mut self) {
        if self.plain.len() - self.end >= STEP {
            return;
        }
        self.plain.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.plain.len() > KEEP_BYTES && self.end < STEP {
            self.plain.truncate(2 * STEP);
            self.plain.shrink_to_fit();
        }
        if self.plain.len() - self.end < STEP {
            // It grows by what was made, never by what a length claims.
            let more = (2 * STEP).max(self.end / 4);
            self.plain.reserve_exact(self.end + more - self.plain.len());
            self.plain.resize(self.end + more, 0);
        }
    }

    /// Forgets all bytes, and gives memory back that another payload hardly needs.
    fn tidy(&mut self) {
        self.input.clear();
        (self.input_at, self.start, self.end) = (0, 0, 0);
        self.input.shrink_to(KEEP_BYTES);
        if self.plain.len() > KEEP_BYTES {
            self.plain = Vec::new();
        }
        self.zstd.tidy();
    }
}

impl Open {
    /// Once all has arrived: is the checksum that of the bytes?
    fn verify(&mut self) -> Result<(), DecodeError> {
        let Some(sum) = self.checksum.as_ref().filter(|_| self.missing == 0) else { return Ok(()) };
        let stored = sum.stored.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let computed = sum.hasher.clone().finalize();
        if stored == computed {
            return Ok(());
        }
        let at = self.header.length as usize - CHECKSUM_LEN;
        Err(Reader::starting_at(&[], at).error("checksum", Reason::Checksum { stored, computed }))
    }

    /// Reads the fields if they have all arrived; what follows them goes to `input`.
    fn read_fields(&mut self, input: &mut Vec<u8>) -> Result<(), DecodeError> {
        let body = self.head.get(HEADER_LEN..).unwrap_or_default();
        let mut reader = Reader::starting_at(body, HEADER_LEN);
        let tail = if self.checksum.is_some() { CHECKSUM_LEN } else { 0 };
        let body_len = self.header.length as usize - HEADER_LEN - tail;
        match read_fields(&mut reader, body_len) {
            Ok(fields) => {
                input.extend_from_slice(reader.rest());
                self.head = Vec::new();
                self.fields = Some(fields);
                Ok(())
            }
            Err(DecodeError { reason: Reason::Truncated { .. }, .. })
                if self.missing > tail && body.len() <= FIELDS_BYTES_MAX =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn error(&self, field: &'static str, reason: Reason) -> DecodeError {
        let at = self.header.length as usize - self.missing;
        Reader::starting_at(&[], at).error(field, reason)
    }
}

/// The fields before the payload, which takes all the rest of the body.
fn read_fields(reader: &mut Reader<'_>, body_len: usize) -> Result<Fields, DecodeError> {
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let (mut payload_len, mut method, mut plain_len) = (None, None, None);
    loop {
        let kind = reader.lenenc("payload: field")?;
        if kind == 0 {
            break;
        }
        let value = reader.lenenc_bytes("payload: value")?;
        let mut number = Reader::starting_at(value, reader.at() - value.len());
        match kind {
            1 => payload_len = Some(number.lenenc("payload: length")?),
            2 => method = Some(number.lenenc("payload: compression")?),
            3 => plain_len = Some(number.lenenc("payload: plain length")?),
            // The servers, too, leave out the fields that they do not know.
            _ => _ = number.rest(),
        }
        number.finish("payload: value")?;
    }
    let compressed = match method {
        Some(ZSTD) => true,
        Some(NONE) => false,
        Some(other) => return Err(reader.invalid(other, "payload: compression")),
        None => return Err(reader.error("payload", Reason::Missing { what: "its compression" })),
    };
    let left = (body_len + HEADER_LEN).saturating_sub(reader.at()) as u64;
    if let Some(value) = payload_len.filter(|payload_len| *payload_len != left) {
        return Err(reader.invalid(value, "payload: length"));
    }
    Ok(Fields { compressed, plain_len })
}

/// The length of the event at the front, if its header is there.
fn inner_length(held: &[u8], event_bytes_max: u32) -> Result<Option<usize>, DecodeError> {
    let Some(length) = held.get(9..HEADER_LEN).and_then(|bytes| bytes.first_chunk()) else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length);
    if length < HEADER_LEN as u32 || length > event_bytes_max {
        return Err(Reader::new(held).invalid(length.into(), "payload: length of an event"));
    }
    Ok(Some(length as usize))
}

/// The property that tests and fuzzers share: whatever the bytes, in whatever portions, taking them apart ends
/// without a panic, what comes out are events that were in it, and no more is held than one of them.
///
/// `input` is a TRANSACTION_PAYLOAD without a checksum; its type and its length are put right.
pub fn check_payload(input: &[u8]) {
    const LIMIT: u32 = 1 << 20;
    const BYTES_MAX: u64 = 16 << 20;
    let Some((head, rest)) = input.split_first_chunk::<HEADER_LEN>() else { return };
    let mut bytes = head.to_vec();
    let length = u32::try_from(input.len()).unwrap_or(u32::MAX);
    bytes.splice(4..5, [EventKind::TransactionPayload.code()]);
    bytes.splice(9..13, length.to_le_bytes());
    bytes.extend(rest);
    let format = Format::plain(super::format::Flavor::Mysql);
    let mut payload = Payload::new().with_event_bytes_max(LIMIT);
    let portion = usize::from(*head.first().unwrap_or(&0)) + HEADER_LEN;
    let (mut decoder, mut portions, mut out) = (super::decoder::Decoder::new(), 0, 0);
    for portion in bytes.chunks(portion) {
        let pushed = match portions {
            0 => payload.begin(portion, 4, Some(&format)),
            _ => payload.push(portion),
        };
        portions += 1;
        if pushed.is_err() {
            return;
        }
        loop {
            match payload.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return,
            }
            let inner = payload.event().expect("there is one");
            assert!(inner.bytes.len() >= HEADER_LEN && inner.bytes.len() <= LIMIT as usize);
            assert!(!inner.last || !payload.is_open());
            out += inner.bytes.len() as u64;
            // What is small may stand for a lot, and a look at the first of it will do.
            if decoder.decode_inner(&inner).is_err() || out > BYTES_MAX {
                return;
            }
            assert!(payload.plain.len() <= 2 * LIMIT as usize + 4 * STEP);
        }
    }
}

/// zstd's decompressor, made when it is first needed.
#[derive(Default)]
struct Context(Option<DCtx<'static>>);

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Context" } else { "None" })
    }
}

/// What one call did.
struct Step {
    taken: usize,
    made: usize,
    frame_ended: bool,
}

impl Context {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Reason> {
        let bad = |code| Reason::Unsupported { what: get_error_name(code) };
        if self.0.is_none() {
            let mut context = DCtx::try_create()
                .ok_or(Reason::Unsupported { what: "zstd: no memory for a context" })?;
            context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(bad)?;
            self.0 = Some(context);
        }
        let Some(context) = &mut self.0 else {
            return Ok(Step { taken: 0, made: 0, frame_ended: false });
        };
        let (mut input, mut output) = (InBuffer::around(input), OutBuffer::around(output));
        // 0 says that a frame has ended and that all of it is in the output.
        let left = context.decompress_stream(&mut output, &mut input).map_err(bad)?;
        Ok(Step { taken: input.pos(), made: output.pos(), frame_ended: left == 0 })
    }

    /// Forgets an unfinished frame.
    fn reset(&mut self) {
        if let Some(context) = &mut self.0
            && context.reset(ResetDirective::SessionOnly).is_err()
        {
            self.0 = None;
        }
    }

    fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|context| context.sizeof() > KEEP_BYTES) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
