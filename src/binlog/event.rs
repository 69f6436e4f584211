//! The events that Rivulet acts on.
//!
//! An event that can carry changes is decoded, or it is an error; only what certainly carries none
//! is [`Event::Ignored`].

use std::fmt;

use super::format::{Flavor, Format};
use super::gtid::{self, GtidEvent, MariadbGtid};
use super::header::{EventKind, HEADER_LEN, Header};
use super::query::{self, Query};
use super::reader::{DecodeError, Reader, Reason};
use super::rows::RowsEvent;
use super::table_map::TableMap;
use crate::position::GtidSet;

/// One event, borrowing its texts and rows from the bytes it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// The first event of a file.
    FormatDescription(Box<Format>),
    /// The file ends here and another one follows; or, made up by the sender, which file follows.
    Rotate {
        /// Where reading goes on in it.
        offset: u64,
        /// Its name without a folder.
        next_file: &'a [u8],
    },
    /// A statement.
    Query(Query<'a>),
    /// What a table looks like.
    TableMap(TableMap<'a>),
    /// Rows that a statement changed.
    Rows(RowsEvent<'a>),
    /// The commit of a transaction.
    Xid(u64),
    /// MySQL: the transaction that follows.
    Gtid(GtidEvent<'a>),
    /// MySQL: the transaction that follows has no GTID.
    AnonymousGtid(GtidEvent<'a>),
    /// MySQL: what the files before this one hold.
    PreviousGtids(GtidSet),
    /// MariaDB: a transaction begins.
    MariadbGtid(MariadbGtid),
    /// MariaDB: the last transactions of the files before this one.
    MariadbGtidList(GtidSet),
    /// MariaDB: the oldest file that recovery needs.
    BinlogCheckpoint {
        /// Its name.
        file: &'a [u8],
    },
    /// MariaDB: the statement whose rows follow.
    AnnotateRows(&'a [u8]),
    /// MySQL: the statement whose rows follow.
    RowsQuery(&'a [u8]),
    /// The stream is alive.
    Heartbeat {
        /// The file that the sender reads.
        file: &'a [u8],
        /// Where it stands in it; `None` if it does not say.
        position: Option<u64>,
    },
    /// The server was shut down.
    Stop,
    /// The rows of an XA transaction end.
    XaPrepare {
        /// Whether this is its commit, too.
        one_phase: bool,
        /// Format, and the bytes of gtrid and bqual behind each other.
        xid: (u32, &'a [u8]),
    },
    /// LOAD DATA as a statement; its file came in parts before it, which are [`Event::Ignored`].
    LoadData {
        /// `None` before MySQL 5.0.3, where the log had its options and no text.
        statement: Option<Query<'a>>,
    },
    /// Changes are missing from the log.
    Incident(Incident<'a>),
    /// Nothing that could matter, or only together with the statement that follows.
    Ignored(EventKind),
}

/// What the server says of the changes that it could not log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Incident<'a> {
    /// 1 is LOST_EVENTS, the only one that there is.
    pub number: u16,
    /// For people.
    pub message: &'a [u8],
}

impl fmt::Display for Incident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = String::from_utf8_lossy(self.message);
        write!(
            f,
            "INCIDENT {}: the server says that changes are missing from its log: `{}`",
            self.number,
            message.escape_debug()
        )
    }
}

impl<'a> Event<'a> {
    /// Decodes the body of an event: what follows the header and precedes the checksum.
    /// FORMAT_DESCRIPTION is the decoder's own business.
    pub(super) fn decode(
        header: &Header,
        format: Option<&Format>,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        use EventKind as K;
        let mut reader = Reader::starting_at(body, HEADER_LEN);
        let reader = &mut reader;
        let short_id = format.is_some_and(|format| format.has_short_table_id(K::TableMap));
        let flavor = format.map_or(Flavor::Mysql, |format| format.flavor);
        let event = match header.kind {
            K::Rotate => {
                Self::Rotate { offset: reader.u64("rotate: offset")?, next_file: reader.rest() }
            }
            K::Query => Self::Query(Query::decode(query::without_variables(format), reader)?),
            K::TableMap => Self::TableMap(TableMap::decode(reader, flavor, short_id)?),
            K::WriteRowsV1 | K::UpdateRowsV1 | K::DeleteRowsV1 => {
                Self::Rows(RowsEvent::decode(header.kind, reader, format)?)
            }
            K::WriteRowsV2 | K::UpdateRowsV2 | K::DeleteRowsV2 | K::PartialUpdateRows => {
                Self::Rows(RowsEvent::decode(header.kind, reader, format)?)
            }
            K::Xid => Self::Xid(reader.u64("xid")?),
            K::Gtid => Self::Gtid(gtid::decode_gtid(reader)?),
            K::AnonymousGtid => Self::AnonymousGtid(gtid::decode_gtid(reader)?),
            K::GtidTagged => Self::Gtid(gtid::decode_tagged(reader)?),
            K::PreviousGtids => Self::PreviousGtids(gtid::decode_set(reader)?),
            K::MariaGtid => Self::MariadbGtid(MariadbGtid::decode(header, reader)?),
            K::MariaGtidList => Self::MariadbGtidList(gtid::decode_list(reader)?),
            K::BinlogCheckpoint => {
                let len = reader.u32("checkpoint: length")?;
                Self::BinlogCheckpoint { file: reader.bytes(len as usize, "checkpoint: file")? }
            }
            K::AnnotateRows => Self::AnnotateRows(reader.rest()),
            K::RowsQuery => {
                // One byte for the length, which is too small for most statements and ignored.
                reader.u8("rows query: length")?;
                Self::RowsQuery(reader.rest())
            }
            K::Heartbeat => Self::Heartbeat {
                file: reader.rest(),
                position: (header.end_position > 0).then_some(header.end_position.into()),
            },
            K::HeartbeatV2 => decode_heartbeat(reader)?,
            K::Stop => Self::Stop,
            K::XaPrepare => decode_xa_prepare(reader)?,
            K::Incident => Self::Incident(Incident {
                number: reader.u16("incident: number")?,
                message: {
                    let len = reader.u8("incident: length of the message")?;
                    reader.bytes(len.into(), "incident: message")?
                },
            }),
            K::Intvar | K::Rand | K::UserVar => {
                drop_context(header.kind, reader)?;
                Self::Ignored(header.kind)
            }
            K::CreateFile | K::AppendBlock | K::DeleteFile | K::BeginLoadQuery => {
                // The file's number, and what is in it.
                reader.u32("load data: file")?;
                reader.rest();
                Self::Ignored(header.kind)
            }
            K::Load | K::NewLoad | K::ExecLoad => {
                reader.rest();
                Self::LoadData { statement: None }
            }
            K::ExecuteLoadQuery => Self::LoadData { statement: Some(Query::decode_load(reader)?) },
            kind => return ignore_or_refuse(header, kind, reader),
        };
        reader.clone().finish("end of event")?;
        Ok(event)
    }
}

/// What certainly carries no changes is left out; all else is refused with the reason.
fn ignore_or_refuse<'a>(
    header: &Header,
    kind: EventKind,
    reader: &Reader<'_>,
) -> Result<Event<'a>, DecodeError> {
    use EventKind as K;
    let what = match kind {
        K::Slave | K::Ignorable | K::TransactionContext | K::ViewChange => {
            return Ok(Event::Ignored(kind));
        }
        _ if header.is_ignorable() => return Ok(Event::Ignored(kind)),
        K::TransactionPayload => "a compressed transaction as one event: it is read in portions",
        K::QueryCompressed
        | K::WriteRowsCompressedV1
        | K::UpdateRowsCompressedV1
        | K::DeleteRowsCompressedV1
        | K::WriteRowsCompressed
        | K::UpdateRowsCompressed
        | K::DeleteRowsCompressed => "a compressed event without room for its content",
        K::PreGaWriteRows | K::PreGaUpdateRows | K::PreGaDeleteRows => {
            "row events of a MySQL 5.1 before 5.1.16: they tell what is NULL as the server's memory \
             had it, which takes more than the log says of a table"
        }
        // In a stream, where the server decrypts, it is marked as ignorable.
        K::StartEncryption => {
            "an encrypted file: only its server can read it, so read through the server"
        }
        _ => return Err(reader.error("event", Reason::UnknownEvent { code: kind.code() })),
    };
    Err(reader.error(kind.name(), Reason::Unsupported { what }))
}

/// Fields of type, length and value, up to a type of 0. Source: `Heartbeat_event_v2`.
fn decode_heartbeat<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, DecodeError> {
    let (mut file, mut position): (&[u8], _) = (&[], None);
    while !reader.is_empty() {
        let kind = reader.u8("heartbeat: field")?;
        if kind == 0 {
            break;
        }
        let value = reader.lenenc_bytes("heartbeat: value")?;
        match kind {
            1 => file = value,
            2 => position = Some(Reader::new(value).lenenc("heartbeat: position")?),
            _ => {}
        }
    }
    reader.rest();
    Ok(Event::Heartbeat { file, position })
}

/// What the statement that follows used: a number given by AUTO_INCREMENT, seeds of RAND(), a variable.
fn drop_context(kind: EventKind, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match kind {
        EventKind::Intvar => {
            reader.u8("intvar: type")?;
            reader.u64("intvar: value")?;
        }
        EventKind::Rand => {
            reader.u64("rand: first seed")?;
            reader.u64("rand: second seed")?;
        }
        _ => {
            let len = reader.u32("user variable: length of its name")?;
            reader.bytes(len as usize, "user variable: name")?;
            if reader.u8("user variable: NULL")? == 0 {
                reader.u8("user variable: type")?;
                reader.u32("user variable: collation")?;
                let len = reader.u32("user variable: length")?;
                reader.bytes(len as usize, "user variable: value")?;
            }
            // Whether it is unsigned, from MySQL 5.1 on, and what later releases add.
            reader.rest();
        }
    }
    Ok(())
}

fn decode_xa_prepare<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, DecodeError> {
    let one_phase = reader.u8("xa prepare: one phase")? != 0;
    let format = reader.u32("xa prepare: format")?;
    let global = reader.u32("xa prepare: gtrid length")?;
    let branch = reader.u32("xa prepare: bqual length")?;
    if global > XA_PART_LEN_MAX || branch > XA_PART_LEN_MAX {
        return Err(reader.invalid(global.max(branch).into(), "xa prepare: length"));
    }
    let xid = reader.bytes((global + branch) as usize, "xa prepare: id")?;
    Ok(Event::XaPrepare { one_phase, xid: (format, xid) })
}

/// `MAXGTRIDSIZE` and `MAXBQUALSIZE`.
const XA_PART_LEN_MAX: u32 = 64;
