//! FORMAT_DESCRIPTION: what the rest of a file, or of a stream, looks like.
//!
//! ```text
//!  version u16 | server version, 50 bytes | created u32 | header length u8
//!  | one byte per event type: length of its fixed part | checksum algorithm u8 | CRC32 of this event
//! ```
//!
//! The algorithm's byte is there from MySQL 5.6.1 and MariaDB 5.3 on, and so is this event's own
//! CRC32, even where the algorithm is OFF. The server sets the IN_USE flag after it computed the
//! checksum. Source: `Format_description_event` in `libs/mysql/binlog/event/control_events.cpp`.

use super::header::{EventKind, HEADER_LEN};
use super::reader::{DecodeError, Reader, Reason};

/// Which of the two servers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flavor {
    /// MySQL, Percona Server and others that call themselves by MySQL's version.
    #[default]
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavor {
    /// `mysql` or `mariadb`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The flavor that a version string tells, as in a format description or `@@version`.
    pub fn of_version(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::Mariadb } else { Self::Mysql }
    }
}

/// What each event ends with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Checksum {
    /// Nothing.
    #[default]
    Off,
    /// CRC32 of all before it, four bytes.
    Crc32,
}

/// What a format description says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Format {
    /// 4 in all servers since MySQL 5.0; others are refused.
    pub binlog_version: u16,
    /// As `@@version` has it.
    pub server_version: String,
    /// When the file was created (or the server started), Unix seconds; 0 where a stream begins
    /// inside a file.
    pub created_s: u32,
    /// By the version string.
    pub flavor: Flavor,
    /// How the events that follow end.
    pub checksum: Checksum,
    /// Whether this event itself ends with a CRC32.
    pub self_checksummed: bool,
    /// The length of the fixed part of each event type, from type 1 on.
    post_header_lens: Vec<u8>,
}

impl Format {
    /// Reads the event's body together with its checksum, if it has one. Verifying it is up to
    /// the caller, as it covers the header too.
    pub(super) fn decode(body_and_checksum: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::starting_at(body_and_checksum, HEADER_LEN);
        let binlog_version = reader.u16("format description: binlog version")?;
        if binlog_version != 4 {
            let what = "a binlog version other than 4, which all servers since MySQL 5.0 write";
            return Err(reader.error("format description", Reason::Unsupported { what }));
        }
        let version = reader.bytes(50, "format description: server version")?;
        let version = version.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(version).into_owned();
        let created_s = reader.u32("format description: created")?;
        let header_len = reader.u8("format description: header length")?;
        if usize::from(header_len) != HEADER_LEN {
            return Err(reader.invalid(header_len.into(), "format description: header length"));
        }
        let flavor = Flavor::of_version(&server_version);
        let self_checksummed = has_checksum_byte(flavor, &server_version);
        let tail = if self_checksummed { CHECKSUM_TAIL_LEN } else { 0 };
        let lens = reader.left().checked_sub(tail).ok_or_else(|| {
            let what = "its checksum algorithm";
            reader.error("format description", Reason::Missing { what })
        })?;
        let post_header_lens = reader.bytes(lens, "format description: lengths")?.to_vec();
        let mut checksum = Checksum::Off;
        if self_checksummed {
            checksum = match reader.u8("format description: checksum algorithm")? {
                0 => Checksum::Off,
                1 => Checksum::Crc32,
                other => return Err(reader.invalid(other.into(), "checksum algorithm")),
            };
        }
        Ok(Self {
            binlog_version,
            server_version,
            created_s,
            flavor,
            checksum,
            self_checksummed,
            post_header_lens,
        })
    }

    /// What the newest server of a flavor writes, without checksums; for checks.
    pub(crate) fn plain(flavor: Flavor) -> Self {
        Self {
            binlog_version: 4,
            server_version: String::new(),
            created_s: 0,
            flavor,
            checksum: Checksum::Off,
            self_checksummed: true,
            post_header_lens: Vec::new(),
        }
    }

    /// The length of the fixed part of an event of this kind, if the server wrote one.
    pub fn post_header_len(&self, kind: EventKind) -> Option<u8> {
        self.post_header_lens.get(usize::from(kind.code()).checked_sub(1)?).copied()
    }

    /// Whether table ids have 4 bytes, as in MySQL 5.1's first releases; else 6.
    pub(super) fn has_short_table_id(&self, kind: EventKind) -> bool {
        self.post_header_len(kind) == Some(6)
    }
}

/// The checksum algorithm's byte and the CRC32.
const CHECKSUM_TAIL_LEN: usize = 5;

fn has_checksum_byte(flavor: Flavor, version: &str) -> bool {
    // Some builds of MariaDB prefix their version so that old replicas accept it.
    let version = match flavor {
        Flavor::Mariadb => version.strip_prefix("5.5.5-").unwrap_or(version),
        Flavor::Mysql => version,
    };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().ok());
    let mut number = || numbers.next().flatten().unwrap_or(0_u32);
    let version = (number(), number(), number());
    match flavor {
        Flavor::Mysql => version >= (5, 6, 1),
        Flavor::Mariadb => version >= (5, 3, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(version: &str, tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![4, 0];
        let mut text = version.as_bytes().to_vec();
        text.resize(50, 0);
        bytes.extend(text);
        bytes.extend([1, 0, 0, 0, 19]);
        bytes.extend([8; 40]);
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn the_version_decides_what_the_end_means() {
        for (version, flavor, checksummed) in [
            ("9.7.4", Flavor::Mysql, true),
            ("5.6.1-log", Flavor::Mysql, true),
            ("5.6.0", Flavor::Mysql, false),
            ("5.5.62", Flavor::Mysql, false),
            ("10.11.19-MariaDB-log", Flavor::Mariadb, true),
            ("5.5.5-10.1.2-MariaDB", Flavor::Mariadb, true),
            ("5.3.0-MariaDB", Flavor::Mariadb, true),
            ("5.2.14-MariaDB", Flavor::Mariadb, false),
        ] {
            let format = Format::decode(&body(version, &[1, 9, 9, 9, 9])).unwrap();
            assert_eq!(
                (format.flavor, format.self_checksummed),
                (flavor, checksummed),
                "{version}"
            );
            let want = if checksummed { Checksum::Crc32 } else { Checksum::Off };
            assert_eq!(format.checksum, want, "{version}");
            assert_eq!(format.post_header_lens.len(), if checksummed { 40 } else { 45 });
        }
    }

    #[test]
    fn other_binlog_versions_are_refused() {
        let mut bytes = body("4.1.22", &[]);
        bytes[0] = 1;
        let error = Format::decode(&bytes).unwrap_err();
        assert!(matches!(error.reason, Reason::Unsupported { .. }));
    }
}
