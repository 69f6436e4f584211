//! The 19 bytes before each event, and the kinds of events.
//!
//! Source: `libs/mysql/binlog/event/binlog_event.h` (MySQL 9.7), `sql/log_event.h` (MariaDB 11.8).

use super::reader::{DecodeError, Reader};

/// The bytes of a header in binlog version 4.
pub const HEADER_LEN: usize = 19;

/// The file was not closed: it is being written, or the server died (format descriptions only).
pub const FLAG_IN_USE: u16 = 0x0001;
/// The sender made the event up; it is in no file.
pub const FLAG_ARTIFICIAL: u16 = 0x0020;
/// A reader that does not know the event may leave it out.
pub const FLAG_IGNORABLE: u16 = 0x0080;

/// An event's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// When the statement began, Unix seconds; 0 in events that the sender made up.
    pub timestamp: u32,
    /// The type byte.
    pub kind: EventKind,
    /// The server that first wrote it.
    pub server_id: u32,
    /// Header, body and checksum, in bytes.
    pub length: u32,
    /// Where the next event starts in its file; 0 where the server does not say (inside
    /// transactions of MariaDB 11.8, made-up events), and modulo 2³² in files beyond 4 GiB.
    pub end_position: u32,
    /// `FLAG_…`.
    pub flags: u16,
}

impl Header {
    /// Reads a header. Fails if there are fewer than [`HEADER_LEN`] bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [t0, t1, t2, t3, kind, s0, s1, s2, s3, l0, l1, l2, l3, e0, e1, e2, e3, f0, f1] =
            reader.array::<HEADER_LEN>("header")?;
        Ok(Self {
            timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            kind: EventKind::from(kind),
            server_id: u32::from_le_bytes([s0, s1, s2, s3]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            end_position: u32::from_le_bytes([e0, e1, e2, e3]),
            flags: u16::from_le_bytes([f0, f1]),
        })
    }

    /// Whether the sender made the event up: it takes no room in a file.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// Whether a reader that does not know the event may leave it out. An event that can carry
    /// rows is never left out, whatever its flags say.
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0 && !self.kind.carries_rows()
    }
}

macro_rules! kinds {
    ($($code:literal $variant:ident $name:literal $doc:literal,)+) => {
        /// An event's type.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum EventKind {
            $(#[doc = $doc] $variant,)+
            /// A type byte that neither server's newest release has.
            Unknown(u8),
        }

        impl From<u8> for EventKind {
            fn from(code: u8) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }
        }

        impl EventKind {
            /// The type byte.
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Unknown(code) => code,
                }
            }

            /// The servers' enum name without `_EVENT`, in upper case.
            ///
            /// Where the two servers' names clash or mislead, these differ from them: MariaDB's
            /// own GTID events begin with `MARIA_`, and row events of either version say theirs
            /// (`WRITE_ROWS_V1` is 23, `WRITE_ROWS_V2` is 30).
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown(_) => "UNKNOWN",
                }
            }
        }
    };
}

kinds! {
    1 StartV3 "START_V3" "The first event of a file before MySQL 5.0.",
    2 Query "QUERY" "A statement.",
    3 Stop "STOP" "The server was shut down.",
    4 Rotate "ROTATE" "The next file's name.",
    5 Intvar "INTVAR" "LAST_INSERT_ID or INSERT_ID of the statement that follows.",
    6 Load "LOAD" "LOAD DATA before MySQL 5.0.",
    7 Slave "SLAVE" "Never written.",
    8 CreateFile "CREATE_FILE" "LOAD DATA before MySQL 5.0.",
    9 AppendBlock "APPEND_BLOCK" "A part of LOAD DATA's file.",
    10 ExecLoad "EXEC_LOAD" "LOAD DATA before MySQL 5.0.",
    11 DeleteFile "DELETE_FILE" "LOAD DATA failed.",
    12 NewLoad "NEW_LOAD" "LOAD DATA before MySQL 5.0.",
    13 Rand "RAND" "The seeds of RAND() in the statement that follows.",
    14 UserVar "USER_VAR" "A user variable that the statement that follows uses.",
    15 FormatDescription "FORMAT_DESCRIPTION" "The first event of a file.",
    16 Xid "XID" "The commit of a transaction.",
    17 BeginLoadQuery "BEGIN_LOAD_QUERY" "The first part of LOAD DATA's file.",
    18 ExecuteLoadQuery "EXECUTE_LOAD_QUERY" "LOAD DATA as a statement.",
    19 TableMap "TABLE_MAP" "What a table looks like.",
    20 PreGaWriteRows "PRE_GA_WRITE" "Rows of MySQL 5.1's alphas.",
    21 PreGaUpdateRows "PRE_GA_UPDATE" "Rows of MySQL 5.1's alphas.",
    22 PreGaDeleteRows "PRE_GA_DELETE" "Rows of MySQL 5.1's alphas.",
    23 WriteRowsV1 "WRITE_ROWS_V1" "Inserted rows: MySQL 5.1 and 5.5, all of MariaDB.",
    24 UpdateRowsV1 "UPDATE_ROWS_V1" "Updated rows: MySQL 5.1 and 5.5, all of MariaDB.",
    25 DeleteRowsV1 "DELETE_ROWS_V1" "Deleted rows: MySQL 5.1 and 5.5, all of MariaDB.",
    26 Incident "INCIDENT" "The server knows that changes are missing from its log.",
    27 Heartbeat "HEARTBEAT" "The stream is alive.",
    28 Ignorable "IGNORABLE" "Never written.",
    29 RowsQuery "ROWS_QUERY" "The statement whose rows follow.",
    30 WriteRowsV2 "WRITE_ROWS_V2" "Inserted rows.",
    31 UpdateRowsV2 "UPDATE_ROWS_V2" "Updated rows.",
    32 DeleteRowsV2 "DELETE_ROWS_V2" "Deleted rows.",
    33 Gtid "GTID" "MySQL: the GTID of the transaction that follows.",
    34 AnonymousGtid "ANONYMOUS_GTID" "MySQL: the transaction that follows has no GTID.",
    35 PreviousGtids "PREVIOUS_GTIDS" "MySQL: the GTIDs in all files before this one.",
    36 TransactionContext "TRANSACTION_CONTEXT" "Group replication's own.",
    37 ViewChange "VIEW_CHANGE" "Group replication's own.",
    38 XaPrepare "XA_PREPARE" "The end of a prepared transaction's rows.",
    39 PartialUpdateRows "PARTIAL_UPDATE_ROWS" "MySQL: updated rows with differences of JSON.",
    40 TransactionPayload "TRANSACTION_PAYLOAD" "MySQL: a compressed transaction.",
    41 HeartbeatV2 "HEARTBEAT_V2" "The stream is alive.",
    42 GtidTagged "GTID_TAGGED" "MySQL: the GTID of the transaction that follows, with a tag.",
    160 AnnotateRows "ANNOTATE_ROWS" "MariaDB: the statement whose rows follow.",
    161 BinlogCheckpoint "BINLOG_CHECKPOINT" "MariaDB: the oldest file that recovery needs.",
    162 MariaGtid "MARIA_GTID" "MariaDB: the beginning of a transaction.",
    163 MariaGtidList "MARIA_GTID_LIST" "MariaDB: the GTIDs in all files before this one.",
    164 StartEncryption "START_ENCRYPTION" "MariaDB: all that follows in the file is encrypted.",
    165 QueryCompressed "QUERY_COMPRESSED" "MariaDB: a statement.",
    166 WriteRowsCompressedV1 "WRITE_ROWS_COMPRESSED_V1" "MariaDB: inserted rows.",
    167 UpdateRowsCompressedV1 "UPDATE_ROWS_COMPRESSED_V1" "MariaDB: updated rows.",
    168 DeleteRowsCompressedV1 "DELETE_ROWS_COMPRESSED_V1" "MariaDB: deleted rows.",
    169 WriteRowsCompressed "WRITE_ROWS_COMPRESSED" "MariaDB: inserted rows.",
    170 UpdateRowsCompressed "UPDATE_ROWS_COMPRESSED" "MariaDB: updated rows.",
    171 DeleteRowsCompressed "DELETE_ROWS_COMPRESSED" "MariaDB: deleted rows.",
}

impl EventKind {
    /// Whether an event of this kind can hold changes of rows, or the statement that made them.
    /// Such an event is decoded or it is an error; it is never left out.
    pub fn carries_rows(self) -> bool {
        use EventKind as K;
        match self {
            K::Query | K::QueryCompressed | K::Incident => true,
            // The file's parts change nothing before they are loaded.
            K::Load | K::ExecLoad | K::NewLoad | K::ExecuteLoadQuery => true,
            K::PreGaWriteRows | K::PreGaUpdateRows | K::PreGaDeleteRows => true,
            K::WriteRowsV1 | K::UpdateRowsV1 | K::DeleteRowsV1 => true,
            K::WriteRowsV2 | K::UpdateRowsV2 | K::DeleteRowsV2 => true,
            K::PartialUpdateRows | K::TransactionPayload | K::XaPrepare => true,
            K::WriteRowsCompressedV1 | K::UpdateRowsCompressedV1 => true,
            K::DeleteRowsCompressedV1 | K::WriteRowsCompressed => true,
            K::UpdateRowsCompressed | K::DeleteRowsCompressed => true,
            // A server newer than this code would mark the event, were it safe to leave out.
            _ => false,
        }
    }

    /// Whether an event of this kind may stand between the beginning and the end of a transaction: it is
    /// not about a file, a stream, a set of transactions, or the name of another one.
    pub fn is_of_a_transaction(self) -> bool {
        use EventKind as K;
        !matches!(
            self,
            K::StartV3
                | K::FormatDescription
                | K::Rotate
                | K::Stop
                | K::StartEncryption
                | K::Heartbeat
                | K::HeartbeatV2
                | K::BinlogCheckpoint
                | K::PreviousGtids
                | K::MariaGtidList
                | K::Gtid
                | K::AnonymousGtid
                | K::GtidTagged
                | K::MariaGtid
                | K::TransactionPayload
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives() {
        for code in 0..=255 {
            assert_eq!(EventKind::from(code).code(), code);
        }
        assert_eq!(EventKind::from(30).name(), "WRITE_ROWS_V2");
        assert_eq!(EventKind::from(200).name(), "UNKNOWN");
    }

    #[test]
    fn an_event_with_rows_is_never_ignorable() {
        let mut header = Header {
            timestamp: 0,
            kind: EventKind::TransactionPayload,
            server_id: 1,
            length: 19,
            end_position: 0,
            flags: FLAG_IGNORABLE,
        };
        assert!(!header.is_ignorable());
        header.kind = EventKind::RowsQuery;
        assert!(header.is_ignorable());
    }
}
