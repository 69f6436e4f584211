//! The commands that start the stream of the binary log. No I/O.
//!
//! Formats: MySQL's manual, "COM_REGISTER_SLAVE", "COM_BINLOG_DUMP", "COM_BINLOG_DUMP_GTID";
//! `sql/rpl_source.cc`; the set: `Gtid_set::encode` in `sql/rpl_gtid_set.cc`.

use std::collections::BTreeMap;

use crate::position::{GtidSet, Uuid};

/// COM_REGISTER_SLAVE.
const REGISTER: u8 = 0x15;
/// COM_BINLOG_DUMP.
const DUMP: u8 = 0x12;
/// COM_BINLOG_DUMP_GTID.
const DUMP_GTID: u8 = 0x1e;
/// BINLOG_DUMP_NON_BLOCK.
const NON_BLOCK: u16 = 1;
/// BINLOG_THROUGH_GTID.
const THROUGH_GTID: u16 = 4;
/// Offset of a file's first event.
const FIRST_EVENT: u64 = 4;

/// Where the stream is to start.
#[derive(Clone, Copy, Debug)]
pub enum Dump<'a> {
    /// At a place in a file. (MariaDB by GTID: an empty name, with `@slave_connect_state` set.)
    File {
        /// The file's name without its folder.
        name: &'a str,
        /// Below 4 GiB.
        offset: u32,
        /// Whether to wait for more at the end of the log.
        wait: bool,
    },
    /// MySQL by GTID: everything that is not in this set.
    Gtids(&'a GtidSet),
}

impl Dump<'_> {
    /// The command's bytes.
    pub fn encode(&self, server_id: u32) -> Vec<u8> {
        match self {
            Self::File { name, offset, wait } => {
                let mut out = vec![DUMP];
                out.extend_from_slice(&offset.to_le_bytes());
                let flags = if *wait { 0 } else { NON_BLOCK };
                out.extend_from_slice(&flags.to_le_bytes());
                out.extend_from_slice(&server_id.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                out
            }
            Self::Gtids(set) => {
                let set = encode_set(&set.mysql);
                let mut out = vec![DUMP_GTID];
                out.extend_from_slice(&THROUGH_GTID.to_le_bytes());
                out.extend_from_slice(&server_id.to_le_bytes());
                out.extend_from_slice(&0u32.to_le_bytes());
                out.extend_from_slice(&FIRST_EVENT.to_le_bytes());
                out.extend_from_slice(&(set.len() as u32).to_le_bytes());
                out.extend_from_slice(&set);
                out
            }
        }
    }
}

/// Announces us as a replica, so that `SHOW REPLICAS` shows who reads.
pub fn register(server_id: u32) -> Vec<u8> {
    let mut out = vec![REGISTER];
    out.extend_from_slice(&server_id.to_le_bytes());
    // Host as reported, user, password (both empty: never our real ones), port, rank, source's id.
    out.push(b"rivulet".len() as u8);
    out.extend_from_slice(b"rivulet");
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&[0; 2 + 4 + 4]);
    out
}

/// The uuid by which MySQL tells its readers apart. It follows from the server id, so that two
/// agents that were given one id end each other's stream and notice, on MySQL as on MariaDB.
pub fn replica_uuid(server_id: u32) -> Uuid {
    let mut bytes = *b"Rivulet\0\x80\0\0\0\0\0\0\0";
    bytes[12..].copy_from_slice(&server_id.to_be_bytes());
    Uuid(bytes)
}

/// The plain layout where no source has a tag, else the tagged one of MySQL 8.3 and later.
fn encode_set(set: &BTreeMap<(Uuid, String), Vec<(u64, u64)>>) -> Vec<u8> {
    let tagged = set.keys().any(|(_, tag)| !tag.is_empty());
    let count = set.len() as u64;
    // Tagged: the format's number in the first and last byte, the count between them.
    let head = if tagged { 1 | count << 8 | 1 << 56 } else { count };
    let mut out = head.to_le_bytes().to_vec();
    for ((uuid, tag), intervals) in set {
        out.extend_from_slice(&uuid.0);
        if tagged {
            // A variable-length integer below 128 is its double; tags have at most 32 bytes.
            out.push((tag.len() as u8) << 1);
            out.extend_from_slice(tag.as_bytes());
        }
        out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
        for (start, end) in intervals {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn a_place_in_a_file_is_asked_for() {
        let found = Dump::File { name: "b.000001", offset: 0x1234, wait: true }.encode(7);
        assert_eq!(found, b"\x12\x34\x12\0\0\0\0\x07\0\0\0b.000001");
        let found = Dump::File { name: "", offset: 4, wait: false }.encode(0);
        assert_eq!(found, b"\x12\x04\0\0\0\x01\0\0\0\0\0");
    }

    #[test]
    fn a_plain_set_has_the_plain_layout() {
        let set: GtidSet = format!("{A}:1-5:7").parse().unwrap();
        let found = Dump::Gtids(&set).encode(7);
        assert_eq!(found.len(), 1 + 2 + 4 + 4 + 8 + 4 + 8 + 16 + 8 + 32);
        assert_eq!(found[..23], *b"\x1e\x04\0\x07\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x40\0\0\0");
        assert_eq!(found[23..31], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found[55..63], 1u64.to_le_bytes());
        assert_eq!(found[63..71], 6u64.to_le_bytes());
    }

    #[test]
    fn a_tag_changes_the_layout() {
        let set: GtidSet = format!("{A}:1,{A}:red:2").parse().unwrap();
        let found = encode_set(&set.mysql);
        assert_eq!(found[..8], [1, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(found[24], 0);
        assert_eq!(found[24 + 1 + 8 + 16 + 16], 6);
        assert_eq!(found[24 + 1 + 8 + 16 + 17..][..3], *b"red");
    }

    #[test]
    fn server_ids_make_different_uuids() {
        assert_ne!(replica_uuid(1), replica_uuid(2));
        assert_eq!(replica_uuid(1).to_string(), "52697675-6c65-7400-8000-000000000001");
    }
}
