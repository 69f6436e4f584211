//! The events that Rivulet acts on.
//!
//! An event that can carry changes is decoded, or it is an error; only what certainly carries none
//! is [`Event::Ignored`].

use super::format::{Flavor, Format};
use super::gtid::{self, GtidEvent, MariadbGtid};
use super::header::{EventKind, HEADER_LEN, Header};
use super::query::Query;
use super::reader::{DecodeError, Reader, Reason};
use super::rows::RowsEvent;
use super::table_map::TableMap;
use super::xid::Xid;
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
        /// Its name.
        xid: Xid,
    },
    /// Nothing that could matter.
    Ignored(EventKind),
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
        let short_id = format.is_some_and(|format| format.has_short_table_id(header.kind));
        let flavor = format.map_or(Flavor::Mysql, |format| format.flavor);
        let event = match header.kind {
            K::Rotate => {
                Self::Rotate { offset: reader.u64("rotate: offset")?, next_file: reader.rest() }
            }
            K::Query => Self::Query(Query::decode(reader)?),
            K::TableMap => Self::TableMap(TableMap::decode(reader, flavor, short_id)?),
            K::WriteRowsV1 | K::UpdateRowsV1 | K::DeleteRowsV1 => {
                Self::Rows(RowsEvent::decode(header.kind, reader, short_id)?)
            }
            K::WriteRowsV2 | K::UpdateRowsV2 | K::DeleteRowsV2 => {
                Self::Rows(RowsEvent::decode(header.kind, reader, short_id)?)
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
        K::TransactionPayload => "a compressed transaction (binlog_transaction_compression)",
        K::PartialUpdateRows => "partial JSON updates (binlog_row_value_options=PARTIAL_JSON)",
        K::QueryCompressed
        | K::WriteRowsCompressedV1
        | K::UpdateRowsCompressedV1
        | K::DeleteRowsCompressedV1
        | K::WriteRowsCompressed
        | K::UpdateRowsCompressed
        | K::DeleteRowsCompressed => "compressed events (log_bin_compress)",
        K::PreGaWriteRows | K::PreGaUpdateRows | K::PreGaDeleteRows => {
            "row events of a MySQL 5.1 alpha"
        }
        K::Intvar | K::Rand | K::UserVar => "a change logged as a statement (binlog_format)",
        K::Load
        | K::CreateFile
        | K::AppendBlock
        | K::ExecLoad
        | K::DeleteFile
        | K::NewLoad
        | K::BeginLoadQuery
        | K::ExecuteLoadQuery => "LOAD DATA logged as a statement (binlog_format)",
        K::Incident => "the server says that changes are missing from its log",
        // In a stream, where the server decrypts, it is marked as ignorable.
        K::StartEncryption => {
            "an encrypted file: only its server can read it, so read through the server"
        }
        K::StartV3 => "the format of servers before MySQL 5.0",
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

fn decode_xa_prepare<'a>(reader: &mut Reader<'_>) -> Result<Event<'a>, DecodeError> {
    let one_phase = reader.u8("xa prepare: one phase")? != 0;
    Ok(Event::XaPrepare { one_phase, xid: Xid::decode(reader)? })
}
