//! A batch's plain header, and the frame around it.

use postcard::ser_flavors::Size;
use serde::{Deserialize, Serialize};

use crate::position::{Position, SERVER_ID_LEN_MAX, Sequence};

use super::BatchError;
use super::cursor::{Cursor, put_varint};

const MAGIC: &[u8; 4] = b"RVLT";
/// 1 did not have all layouts of `column` and `ints`.
const VERSION: u8 = 2;

/// No identity or meta is longer: names and positions have limits of their own.
const HEADER_BYTES_MAX: u64 = 16 * 1024;

/// What the name of no binlog file exceeds, in bytes: `FN_REFLEN` of `include/my_io.h`.
pub(super) const FILE_LEN_MAX: usize = 512;

/// Most metas are shorter.
const META_BYTES_USUAL: usize = 256;

/// Which batch this is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The agent's name, as its certificate has it.
    pub agent: String,
    /// The agent's epoch, from 1.
    pub epoch: u64,
    /// Its number in the epoch, from 1, without gaps.
    pub sequence: Sequence,
    /// [`crc`] of the batch before it in the epoch, 0 for the first: two histories cannot be mixed up.
    pub previous_crc: u32,
    /// What an epoch's first batch continues; `None` in all others.
    pub follows: Option<Follows>,
}

/// What the agent has already forgotten when an epoch begins, because it was acknowledged: a collector that
/// stands before it has lost something.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Follows {
    /// The epoch of the last batch that was forgotten; 0 if none ever was.
    pub epoch: u64,
    /// Its number in that epoch.
    pub sequence: Sequence,
    /// Everything that was committed behind this place is in the epoch. Its file is empty if that is not
    /// known.
    pub since: Position,
    /// Whether the operator lets the agent go on although something is missing.
    pub accepts_gap: bool,
}

impl Identity {
    /// An agent's, before its first batch.
    pub fn of(agent: String) -> Self {
        Self { agent, epoch: 0, sequence: Sequence::START, previous_crc: 0, follows: None }
    }
}

/// What can be known of a batch without decoding its body.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Where its first transaction begins, with that transaction's GTID.
    pub first: Position,
    /// Where its last transaction ends, with that transaction's GTID. Equal to `first` in a part that
    /// is not the last one.
    pub last: Position,
    /// When the file of `first` was created, Unix seconds; 0 if not known. A file of the same name
    /// with another time is another history.
    pub file_created_s: u32,
    /// Transactions that end in it.
    pub transactions: u32,
    /// Row changes in it.
    pub rows: u32,
    /// This is part number so many of a transaction that is larger than a batch; 0 for the first or only one.
    pub part: u32,
    /// Whether the transaction goes on in the next batch.
    pub continues: bool,
    /// 0: plain, 1: zstd.
    pub codec: u8,
    /// The zstd dictionary; 0 for none.
    pub dictionary: u32,
    /// Bytes of the body when decompressed.
    pub plain_len: u32,
    /// CRC32C of those.
    pub plain_crc: u32,
}

/// A batch's parts as they came over the wire.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Which batch.
    pub identity: Identity,
    /// What is in it.
    pub meta: Meta,
    /// The compressed body.
    pub body: &'a [u8],
    /// [`crc`] of this batch: what the next one must name.
    pub crc: u32,
}

/// CRC32C over a batch's meta and body as they are stored: the same whatever its identity is.
pub fn crc(meta: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(meta), body)
}

/// Puts an identity before a sealed batch.
pub fn frame(identity: &Identity, meta: &[u8], body: &[u8]) -> Vec<u8> {
    let sound = "an identity has no unserializable part";
    let len = postcard::serialize_with_flavor(identity, Size::default()).expect(sound);
    let mut out = Vec::with_capacity(32 + len + meta.len() + body.len());
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    put_varint(&mut out, len as u64);
    let mut out = postcard::to_extend(identity, out).expect(sound);
    for part in [meta, body] {
        put_varint(&mut out, part.len() as u64);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

impl<'a> Message<'a> {
    /// Takes a message apart. Nothing is decompressed; the frame's checksum is verified.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len(), "magic")? != MAGIC {
            return Err(BatchError::Unknown("magic", 0));
        }
        match cursor.u8("version")? {
            1..=VERSION => {}
            other => return Err(BatchError::Unknown("version", u64::from(other))),
        }
        let identity = short(&mut cursor, "identity")?;
        let meta = short(&mut cursor, "meta")?;
        let len = cursor.varint("body length")?;
        let body = cursor.bytes(usize::try_from(len).unwrap_or(usize::MAX), "body")?;
        let sum = cursor.u32("checksum")?;
        if cursor.left() > 0 {
            return Err(BatchError::Malformed("bytes behind the end", cursor.left() as u64));
        }
        if bytes.split_last_chunk::<4>().is_none_or(|(all, _)| crc32c::crc32c(all) != sum) {
            return Err(BatchError::Checksum("frame"));
        }
        Ok(Self {
            identity: postcard::from_bytes(identity)
                .map_err(|_| BatchError::Refused("identity"))?,
            crc: crc(meta, body),
            meta: Meta::decode(meta)?,
            body,
        })
    }
}

impl Meta {
    /// The plain bytes of a meta.
    pub fn encode(&self) -> Vec<u8> {
        let out = Vec::with_capacity(META_BYTES_USUAL);
        postcard::to_extend(self, out).expect("a meta has no unserializable part")
    }

    /// Reads what [`Meta::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let meta: Self = postcard::from_bytes(bytes).map_err(|_| BatchError::Refused("meta"))?;
        let sound = |position: &Position| {
            position.server.0.len() <= SERVER_ID_LEN_MAX && position.file.len() <= FILE_LEN_MAX
        };
        if !sound(&meta.first) || !sound(&meta.last) {
            return Err(BatchError::TooLarge("name of a server or a file"));
        }
        Ok(meta)
    }
}

fn short<'a>(cursor: &mut Cursor<'a>, field: &'static str) -> Result<&'a [u8], BatchError> {
    match cursor.varint(field)? {
        len @ 0..=HEADER_BYTES_MAX => cursor.bytes(len as usize, field),
        _ => Err(BatchError::TooLarge(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let follows = Some(Follows { epoch: 2, sequence: Sequence(7), ..Follows::default() });
        let agent = "shop-17".into();
        Identity { agent, epoch: 3, sequence: Sequence(9), previous_crc: 77, follows }
    }

    #[test]
    fn a_frame_survives_and_its_crc_does_not_depend_on_the_identity() {
        let meta = Meta { rows: 5, plain_len: 3, ..Meta::default() };
        let bytes = frame(&identity(), &meta.encode(), b"abc");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            (&message.identity, &message.meta, message.body),
            (&identity(), &meta, &b"abc"[..])
        );
        assert_eq!(message.crc, crc(&meta.encode(), b"abc"));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let bytes = frame(&identity(), &Meta::default().encode(), b"abc");
        for len in 0..bytes.len() {
            assert!(Message::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(Message::parse(&damaged).is_err(), "flipped at {index}");
        }
    }
}
