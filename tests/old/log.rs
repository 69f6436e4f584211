//! Logs as servers wrote them that cannot be had any more, made byte by byte.
//!
//! The lengths of the fixed parts are those of each release's `Format_description_log_event` in
//! `sql/log_event.cc`.

/// What all servers since MySQL 5.0 have: START_V3 to EXECUTE_LOAD_QUERY.
const LENS_5_0: [u8; 18] = [56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 84, 0, 4, 26];
/// TABLE_MAP to HEARTBEAT.
const LENS_5_1: [u8; 9] = [8, 0, 0, 0, 8, 8, 8, 2, 0];
/// The same with table ids of four bytes.
const LENS_5_1_EARLY: [u8; 9] = [6, 6, 6, 6, 6, 6, 6, 2, 0];
/// IGNORABLE to PREVIOUS_GTIDS.
const LENS_5_6: [u8; 8] = [0, 0, 10, 10, 10, 25, 25, 0];
/// The same, and TRANSACTION_CONTEXT to XA_PREPARE.
const LENS_5_7: [u8; 11] = [0, 0, 10, 10, 10, 42, 42, 0, 18, 52, 0];

/// What kind of server writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    /// MySQL 5.0: statements only.
    My50,
    /// MySQL 5.1 before rows events of version 1, and its table ids.
    My51Early,
    /// MySQL 5.1 and 5.5.
    My51,
    /// MySQL 5.6.
    My56,
    /// MySQL 5.7.
    My57,
    /// MariaDB 5.1 to 5.5.
    Maria55,
    /// MariaDB 10.0 to 10.4.
    Maria100,
}

impl Era {
    fn lens(self) -> Vec<u8> {
        let of = |parts: &[&[u8]]| [&[&LENS_5_0[..]], parts].concat().concat();
        match self {
            Self::My50 => of(&[]),
            Self::My51Early => of(&[&LENS_5_1_EARLY]),
            Self::My51 => of(&[&LENS_5_1]),
            Self::My56 => of(&[&LENS_5_1, &LENS_5_6]),
            Self::My57 => of(&[&LENS_5_1, &LENS_5_7]),
            // ANNOTATE_ROWS and BINLOG_CHECKPOINT are 160 and 161, GTID and GTID_LIST behind them.
            Self::Maria55 => of(&[&LENS_5_1, &[0; 132], &[0, 4]]),
            Self::Maria100 => {
                of(&[&LENS_5_1, &[0; 132], &[0, 4, 19, 4, 0, 13, 8, 8, 8, 10, 10, 10]])
            }
        }
    }
}

/// A file in the making.
pub struct Log {
    pub bytes: Vec<u8>,
    era: Era,
    checksum: bool,
}

impl Log {
    /// Begins a file. `algorithm` is what the format description ends with, where it says so at all.
    pub fn new(era: Era, version: &str, algorithm: Option<u8>) -> Self {
        let mut log = Self { bytes: b"\xfebin".to_vec(), era, checksum: algorithm.is_some() };
        let mut body = vec![4, 0];
        body.extend(version.bytes().chain(std::iter::repeat(0)).take(50));
        body.extend(1_300_000_000_u32.to_le_bytes());
        body.push(19);
        body.extend(era.lens());
        body.extend(algorithm);
        // This one has a checksum whatever it says of the others.
        log.event(15, 0, &body);
        log.checksum = algorithm == Some(1);
        log
    }

    /// Appends an event.
    pub fn event(&mut self, kind: u8, flags: u16, body: &[u8]) -> &mut Self {
        let checksum = if self.checksum { 4 } else { 0 };
        let len = (19 + body.len() + checksum) as u32;
        let start = self.bytes.len();
        self.bytes.extend(1_300_000_000_u32.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend(5_u32.to_le_bytes());
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend((start as u32 + len).to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(body);
        if self.checksum {
            let sum = crc32fast::hash(&self.bytes[start..]);
            self.bytes.extend(sum.to_le_bytes());
        }
        self
    }

    /// A statement in the database `d`.
    pub fn query(&mut self, statement: &str) -> &mut Self {
        // Flags, SQL mode, catalog, character sets: what MySQL 5.0 began with.
        let variables = [
            &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[6, 3, b's', b't', b'd', 4, 33, 0, 33, 0, 8, 0],
        ]
        .concat();
        let head = [9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, variables.len() as u8, 0];
        self.event(2, 0, &[&head[..], &variables, b"d\0", statement.as_bytes()].concat())
    }

    fn table_id(&self) -> &'static [u8] {
        if self.era == Era::My51Early { &[7, 0, 0, 0] } else { &[7, 0, 0, 0, 0, 0] }
    }

    /// The table `d`.`t`, whose columns are all nullable.
    pub fn table(&mut self, kinds: &[u8], metadata: &[u8]) -> &mut Self {
        let nullable = vec![0xff; kinds.len().div_ceil(8)];
        let (count, len) = ([kinds.len() as u8], [metadata.len() as u8]);
        let parts =
            [self.table_id(), &[1, 0], b"\x01d\0\x01t\0", &count, kinds, &len, metadata, &nullable];
        self.event(19, 0, &parts.concat())
    }

    /// Rows of that table, all columns present; `images` of an update are pairs.
    pub fn rows(&mut self, kind: u8, columns: usize, images: &[&[u8]]) -> &mut Self {
        let present = vec![0xff; columns.div_ceil(8)];
        let extra: &[u8] = if matches!(kind, 30..=32) { &[2, 0] } else { &[] };
        let twice: &[u8] = if matches!(kind, 24 | 31) { &present } else { &[] };
        let count = [columns as u8];
        let head = [self.table_id(), &[1, 0], extra, &count, &present, twice].concat();
        self.event(kind, 0, &[head, images.concat()].concat())
    }

    /// The commit of a transaction.
    pub fn xid(&mut self) -> &mut Self {
        self.event(16, 0, &77_u64.to_le_bytes())
    }
}
