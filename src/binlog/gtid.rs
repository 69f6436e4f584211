//! The events that name transactions: GTID events of both servers and the sets at a file's start.
//!
//! Sources: `libs/mysql/binlog/event/control_events.cpp` and `libs/mysql/serialization/readme.md`
//! (MySQL), `Gtid_log_event` and `Gtid_list_log_event` in `sql/log_event.cc` (MariaDB).

use super::header::Header;
use super::reader::{DecodeError, Reader, Reason};
use crate::position::{Gtid, GtidSet, Uuid, is_tag};

/// MySQL's GTID, GTID_TAGGED and ANONYMOUS_GTID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GtidEvent<'a> {
    /// Bit 0: the transaction may hold statements, not only rows.
    pub flags: u8,
    /// The server that first committed it; zeros if anonymous.
    pub uuid: Uuid,
    /// Empty for none.
    pub tag: &'a str,
    /// 1 and up; 0 if anonymous.
    pub number: u64,
    /// The commit that this one depends on, within the file.
    pub last_committed: i64,
    /// The commit's number within the file.
    pub sequence_number: i64,
    /// When it was committed on the server whose log this is, microseconds since 1970 in UTC.
    /// MySQL 8.0.1 and up.
    pub immediate_commit_us: Option<u64>,
    /// When it was committed on the server that it first ran on.
    pub original_commit_us: Option<u64>,
    /// Bytes of all its events, this one included. MySQL 8.0.2 and up.
    pub transaction_length: Option<u64>,
}

impl GtidEvent<'_> {
    /// The identifier as other rooms have it.
    pub fn gtid(&self) -> Gtid {
        Gtid::Mysql { uuid: self.uuid, tag: self.tag.to_owned(), number: self.number }
    }
}

/// The transaction has a group commit's id.
const MARIA_GROUP_COMMIT: u8 = 0x02;
/// `FL_START_ALTER_E1`.
const MARIA_EXTRA_ALTER_STARTS: u8 = 0x02;
/// `FL_ROLLBACK_ALTER_E1`.
const MARIA_EXTRA_ALTER_FAILS: u8 = 0x08;
const MARIA_XA: u8 = MariadbGtid::PREPARED_XA | MariadbGtid::COMPLETED_XA;
/// `FL_COMMIT_ALTER_E1` and `FL_ROLLBACK_ALTER_E1`.
pub(super) const MARIA_EXTRA_ALTER_ENDS: u8 = 0x04 | 0x08;
/// `FL_EXTRA_MULTI_ENGINE_E1`.
const MARIA_EXTRA_ENGINES: u8 = 0x01;
/// `FL_EXTRA_THREAD_ID`.
const MARIA_EXTRA_THREAD: u8 = 0x10;

/// MariaDB's GTID, which begins a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MariadbGtid {
    /// The replication domain.
    pub domain: u32,
    /// The header's server id.
    pub server: u32,
    /// 1 and up.
    pub sequence: u64,
    /// `FL_…` of `sql/log_event.h`.
    pub flags: u8,
    /// Shared by transactions that were committed together.
    pub commit_id: Option<u64>,
    /// The session. MariaDB 11.5 and up.
    pub thread_id: Option<u32>,
    /// The statement is an ALTER TABLE that begins, or that failed (`binlog_alter_two_phase`, MariaDB
    /// 10.8 and up): it alters nothing yet, or nothing at all.
    pub alters_nothing: bool,
}

impl MariadbGtid {
    /// One statement without a commit: DDL, or a statement on a table without transactions.
    pub const STANDALONE: u8 = 0x01;
    /// All engines in it have transactions.
    pub const TRANSACTIONAL: u8 = 0x04;
    /// DDL.
    pub const DDL: u8 = 0x20;
    /// Rows of an XA transaction that is prepared and not yet committed.
    pub const PREPARED_XA: u8 = 0x40;
    /// The commit or rollback of a prepared XA transaction.
    pub const COMPLETED_XA: u8 = 0x80;

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The identifier as other rooms have it.
    pub fn gtid(&self) -> Gtid {
        Gtid::Mariadb { domain: self.domain, server: self.server, sequence: self.sequence }
    }

    pub(super) fn decode(header: &Header, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sequence = reader.u64("gtid: sequence")?;
        let domain = reader.u32("gtid: domain")?;
        let flags = reader.u8("gtid: flags")?;
        let mut gtid = Self {
            domain,
            server: header.server_id,
            sequence,
            flags,
            commit_id: None,
            thread_id: None,
            alters_nothing: false,
        };
        if gtid.has(MARIA_GROUP_COMMIT) {
            gtid.commit_id = Some(reader.u64("gtid: commit id")?);
        }
        if gtid.has(MARIA_XA) {
            reader.u32("gtid: XA format")?;
            let global = reader.u8("gtid: XA gtrid length")?;
            let branch = reader.u8("gtid: XA bqual length")?;
            reader.bytes(usize::from(global) + usize::from(branch), "gtid: XA id")?;
        }
        if !reader.is_empty() {
            gtid.decode_extra(reader)?;
        }
        // Zeros fill up to the fixed length, or to 4096 bytes where the server renamed a large
        // transaction's file.
        reader.rest();
        Ok(gtid)
    }

    fn decode_extra(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let extra = reader.u8("gtid: extra flags")?;
        self.alters_nothing = extra & (MARIA_EXTRA_ALTER_STARTS | MARIA_EXTRA_ALTER_FAILS) != 0;
        if extra & MARIA_EXTRA_ENGINES != 0 {
            reader.u8("gtid: engines")?;
        }
        if extra & MARIA_EXTRA_ALTER_ENDS != 0 {
            reader.u64("gtid: sequence of START ALTER")?;
        }
        if extra & MARIA_EXTRA_THREAD != 0 {
            self.thread_id = Some(reader.u32("gtid: thread")?);
        }
        Ok(())
    }
}

/// GTID and ANONYMOUS_GTID.
pub(super) fn decode_gtid<'a>(reader: &mut Reader<'a>) -> Result<GtidEvent<'a>, DecodeError> {
    let flags = reader.u8("gtid: flags")?;
    let uuid = decode_uuid(reader)?;
    let number = reader.u64("gtid: number")?;
    let mut event = GtidEvent {
        flags,
        uuid,
        tag: "",
        number,
        last_committed: 0,
        sequence_number: 0,
        immediate_commit_us: None,
        original_commit_us: None,
        transaction_length: None,
    };
    // MySQL 5.6 ends here; the byte 2 announces the logical clock, and each release added to it.
    if reader.is_empty() || reader.u8("gtid: clock type")? != LOGICAL_CLOCK {
        reader.rest();
        return Ok(event);
    }
    event.last_committed = reader.u64("gtid: last committed")?.cast_signed();
    event.sequence_number = reader.u64("gtid: sequence number")?.cast_signed();
    if reader.left() < 7 {
        reader.rest();
        return Ok(event);
    }
    let immediate = reader.u56("gtid: immediate commit timestamp")?;
    let original = match immediate & ORIGINAL_FOLLOWS {
        0 => immediate,
        _ => reader.u56("gtid: original commit timestamp")?,
    };
    event.immediate_commit_us = Some(immediate & !ORIGINAL_FOLLOWS);
    event.original_commit_us = Some(original);
    if !reader.is_empty() {
        event.transaction_length = Some(reader.lenenc("gtid: transaction length")?);
    }
    // The servers' versions and the commit group's ticket say nothing about the data.
    reader.rest();
    Ok(event)
}

const LOGICAL_CLOCK: u8 = 2;
const ORIGINAL_FOLLOWS: u64 = 1 << 55;

/// GTID_TAGGED: numbered fields, in rising order, of `libs/mysql/serialization`.
pub(super) fn decode_tagged<'a>(reader: &mut Reader<'a>) -> Result<GtidEvent<'a>, DecodeError> {
    let start = reader.left();
    let version = reader.varlen("gtid: serialization version")?;
    if version != 1 {
        return Err(reader.invalid(version, "gtid: serialization version"));
    }
    let size = reader.varlen("gtid: size")?;
    if size != start as u64 {
        return Err(reader.invalid(size, "gtid: size"));
    }
    let last_needed = reader.varlen("gtid: last field that must be known")?;
    let mut event = GtidEvent {
        flags: 0,
        uuid: Uuid([0; 16]),
        tag: "",
        number: 0,
        last_committed: 0,
        sequence_number: 0,
        immediate_commit_us: None,
        original_commit_us: None,
        transaction_length: None,
    };
    let (mut next, mut seen) = (0, 0_u32);
    while !reader.is_empty() {
        let id = reader.varlen("gtid: field id")?;
        if id < next {
            return Err(reader.invalid(id, "gtid: field id"));
        }
        if id > TAGGED_FIELD_MAX {
            if id <= last_needed {
                return Err(reader.invalid(id, "gtid: field id"));
            }
            // Fields have no lengths: behind the first unknown one there is nothing to find.
            reader.rest();
            break;
        }
        seen |= 1 << id;
        next = id + 1;
        decode_tagged_field(id, &mut event, reader)?;
    }
    if seen & 0b1111 != 0b1111 {
        return Err(reader.error("gtid", Reason::Missing { what: "a part of the identifier" }));
    }
    if event.original_commit_us.is_none() {
        event.original_commit_us = event.immediate_commit_us;
    }
    Ok(event)
}

/// The ticket of the commit group, the last field of MySQL 9.7.
const TAGGED_FIELD_MAX: u64 = 11;

fn decode_tagged_field<'a>(
    id: u64,
    event: &mut GtidEvent<'a>,
    reader: &mut Reader<'a>,
) -> Result<(), DecodeError> {
    match id {
        0 => event.flags = reader.varlen("gtid: flags")? as u8,
        1 => {
            for byte in &mut event.uuid.0 {
                let value = reader.varlen("gtid: uuid")?;
                *byte = value.try_into().map_err(|_| reader.invalid(value, "gtid: uuid"))?;
            }
        }
        2 => {
            let number = reader.varlen_signed("gtid: number")?;
            event.number = number
                .try_into()
                .map_err(|_| reader.invalid(number.cast_unsigned(), "gtid: number"))?;
        }
        3 => event.tag = decode_tag(reader)?,
        4 => event.last_committed = reader.varlen_signed("gtid: last committed")?,
        5 => event.sequence_number = reader.varlen_signed("gtid: sequence number")?,
        6 => event.immediate_commit_us = Some(reader.varlen("gtid: immediate commit timestamp")?),
        7 => event.original_commit_us = Some(reader.varlen("gtid: original commit timestamp")?),
        8 => event.transaction_length = Some(reader.varlen("gtid: transaction length")?),
        _ => {
            reader.varlen("gtid: server version or ticket")?;
        }
    }
    Ok(())
}

/// PREVIOUS_GTIDS: the plain layout, or the tagged one of MySQL 8.3 and up, whose first and
/// eighth byte are both 1.
pub(super) fn decode_set(reader: &mut Reader<'_>) -> Result<GtidSet, DecodeError> {
    let head = reader.u64("previous gtids: count")?;
    let (tagged, count) = match (head >> 56, head & 0xff) {
        (0, _) => (false, head),
        (1, 1) => (true, (head >> 8) & 0xff_ffff_ffff),
        (format, _) => return Err(reader.invalid(format, "previous gtids: format")),
    };
    let mut set = GtidSet::default();
    for _ in 0..count {
        let uuid = decode_uuid(reader)?;
        let tag = if tagged { decode_tag(reader)? } else { "" };
        let intervals = reader.u64("previous gtids: intervals")?;
        // Sorted and apart, so that they are taken as they are, in linear time.
        let mut all: Vec<(u64, u64)> = Vec::new();
        for _ in 0..intervals {
            let start = reader.u64("previous gtids: start")?;
            let end = reader.u64("previous gtids: end")?;
            let last_end = all.last().map_or(0, |(_, end)| *end);
            if start <= last_end || end <= start {
                return Err(reader.invalid(start, "previous gtids: start"));
            }
            all.push((start, end));
        }
        if !all.is_empty() && set.mysql.insert((uuid, tag.to_owned()), all).is_some() {
            return Err(reader.invalid(count, "previous gtids: the same source twice"));
        }
    }
    Ok(set)
}

/// MariaDB's list: the last transactions of each domain.
pub(super) fn decode_list(reader: &mut Reader<'_>) -> Result<GtidSet, DecodeError> {
    // The upper four bits are flags for replicas.
    let count = reader.u32("gtid list: count")? & 0x0fff_ffff;
    let mut set = GtidSet::default();
    for _ in 0..count {
        let domain = reader.u32("gtid list: domain")?;
        let server = reader.u32("gtid list: server")?;
        let sequence = reader.u64("gtid list: sequence")?;
        set.insert(&Gtid::Mariadb { domain, server, sequence });
    }
    if count == 0 {
        // The server pads an empty list.
        reader.rest();
    }
    Ok(set)
}

fn decode_uuid(reader: &mut Reader<'_>) -> Result<Uuid, DecodeError> {
    let bytes = reader.bytes(16, "gtid: uuid")?;
    Ok(Uuid(*bytes.first_chunk().expect("sixteen bytes were asked for")))
}

fn decode_tag<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let len = reader.varlen("gtid: tag length")?;
    let tag = reader.bytes(usize::try_from(len).unwrap_or(usize::MAX), "gtid: tag")?;
    match std::str::from_utf8(tag) {
        // Anything else would mean something else in the text of a set.
        Ok(text) if is_tag(tag) => Ok(text),
        _ => Err(reader.invalid(len, "gtid: tag")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::EventKind;
    use super::*;

    const UUID: &str = "a4337a05-e57f-11f1-b554-02fc00000001";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// Fields 0 to 9: flags, uuid, number 1, tag "red", clock 2 and 3, commit time, length, version.
    const TAGGED: &str = "02 6c 00 00 00 02 910266f40a9503fe22c503d502a804f10300000002 04 04 06 06
        726564 08 08 0a 0c 0c 7fded5c9bcc46006 10 2104 12 83120b";

    #[test]
    fn a_tag_with_a_comma_is_refused() {
        let set = |tag: &[u8; 3]| {
            let mut body = (1_u64 | 1 << 8 | 1 << 56).to_le_bytes().to_vec();
            body.extend([7; 16]);
            body.push(6);
            body.extend(tag);
            body.extend([1_u64, 1, 5].map(u64::to_le_bytes).concat());
            decode_set(&mut Reader::new(&body))
        };
        assert!(set(b"a_1").is_ok());
        assert!(matches!(set(b"a,b").unwrap_err().reason, Reason::Invalid { .. }));
    }

    #[test]
    fn a_tagged_gtid_is_read_field_by_field() {
        let bytes = bytes(TAGGED);
        let event = decode_tagged(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(event.gtid().to_string(), format!("{UUID}:red:1"));
        assert_eq!((event.last_committed, event.sequence_number), (2, 3));
        assert_eq!(event.immediate_commit_us, Some(1_795_247_957_464_542));
        assert_eq!(event.original_commit_us, event.immediate_commit_us);
        assert_eq!(event.transaction_length, Some(264));
    }

    #[test]
    fn an_unknown_field_is_left_out_only_if_it_may_be() {
        let mut bytes = bytes(TAGGED);
        // Field 12, and the size with it.
        bytes.extend([24, 1, 2, 3]);
        bytes[1] += 8;
        assert!(decode_tagged(&mut Reader::new(&bytes)).is_ok());
        bytes[2] = 24;
        assert!(decode_tagged(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn a_plain_gtid_is_read_in_each_release_s_form() {
        let whole = bytes(
            "01 a4337a05e57f11f1b55402fc00000001 0500000000000000
             02 0100000000000000 0200000000000000 d26ac8bcc46006 b3 50620100",
        );
        let event = decode_gtid(&mut Reader::new(&whole)).unwrap();
        assert_eq!(event.gtid().to_string(), format!("{UUID}:5"));
        assert_eq!((event.last_committed, event.transaction_length), (1, Some(179)));
        assert_eq!(event.immediate_commit_us, Some(1_795_247_957_371_602));
        // MySQL 5.7 ends behind the clock, MySQL 5.6 before it.
        for len in [42, 25] {
            let event = decode_gtid(&mut Reader::new(&whole[..len])).unwrap();
            assert_eq!((event.number, event.immediate_commit_us), (5, None));
        }
    }

    #[test]
    fn both_layouts_of_a_set_are_read() {
        let uuid = "a4337a05e57f11f1b55402fc00000001";
        let interval = "01000000000000000400000000000000";
        let plain = bytes(&format!("0100000000000000 {uuid} 0100000000000000 {interval}"));
        let set = decode_set(&mut Reader::new(&plain)).unwrap();
        assert_eq!(set.to_string(), format!("{UUID}:1-3"));
        let tagged =
            bytes(&format!("0101000000000001 {uuid} 06 726564 0100000000000000 {interval}"));
        let set = decode_set(&mut Reader::new(&tagged)).unwrap();
        assert_eq!(set.to_string(), format!("{UUID}:red:1-3"));
        let empty = bytes("0100000000000001");
        assert!(decode_set(&mut Reader::new(&empty)).unwrap().is_empty());
        assert!(decode_set(&mut Reader::new(&plain[..30])).is_err());
    }

    #[test]
    fn a_count_alone_takes_neither_memory_nor_time() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert!(decode_set(&mut Reader::new(&bytes)).is_err());
        assert!(decode_list(&mut Reader::new(&[0xff, 0xff, 0xff, 0x0f])).is_err());
    }

    #[test]
    fn mariadb_s_gtid_may_say_its_thread_and_may_be_padded() {
        let header = Header {
            timestamp: 1,
            kind: EventKind::MariaGtid,
            server_id: 33,
            length: 0,
            end_position: 0,
            flags: 0,
        };
        let decode = |hex: &str| {
            let mut bytes = bytes(hex);
            bytes.resize(bytes.len() + 100, 0);
            MariadbGtid::decode(&header, &mut Reader::new(&bytes)).unwrap()
        };
        let gtid = decode("0300000000000000 02000000 29");
        assert_eq!(gtid.gtid().to_string(), "2-33-3");
        assert!(gtid.has(MariadbGtid::STANDALONE) && gtid.has(MariadbGtid::DDL));
        assert_eq!((gtid.commit_id, gtid.thread_id), (None, None));
        let gtid = decode("0300000000000000 00000000 0e 0900000000000000 10 3a000000");
        assert_eq!((gtid.commit_id, gtid.thread_id), (Some(9), Some(58)));
        let gtid = decode("0300000000000000 00000000 44 01000000 03 00 6f6e65 11 01 07000000");
        assert_eq!(gtid.thread_id, Some(7));
        for (extra, alters_nothing) in [("02", true), ("04", false), ("08", true), ("00", false)] {
            let gtid = decode(&format!("0300000000000000 00000000 29 {extra} 0900000000000000"));
            assert_eq!(gtid.alters_nothing, alters_nothing, "{extra}");
        }
    }
}
