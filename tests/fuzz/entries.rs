//! Every place where bytes come in from outside, its property, and what it may allocate: the one table that the
//! fuzz targets and the property tests share.

use std::time::{Duration, Instant};

use rivulet::{
    batch, binlog, buffer, collector, config, decode, mqtt, mysql, position, source, telemetry,
};

/// An entry point.
pub struct Entry {
    /// The fuzz target's name, and the corpus folder's.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub check: fn(&[u8]),
    /// Bytes that may be allocated at any moment for each byte of input …
    pub per_byte: usize,
    /// … beside so many.
    pub beside: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What is allocated counts together with what the check itself allocates to compare: mostly a second copy.
///
/// | what makes a factor large | |
/// |---|---|
/// | a column takes one type byte in a table map, and [`binlog::table::Column`] in memory | 150 |
/// | a NULL takes one bit in a row, and a cell in memory | 200 |
/// | DEFLATE, shown as hexadecimal digits, twice | 1032 × 2 × 2 |
/// | each wrong character of a configuration is a problem of its own, with its text | 2000 |
/// | packed integers: see `batch`'s own limits | 64, beside 64 MiB |
/// | a JSON value, taken apart | 64 for each 3 bytes |
/// | an event of at most 1 MiB out of a payload, and tables that it defines | 24 MiB |
/// | what `decode` holds of an open transaction before it goes to a file | 4 MiB |
pub const ENTRIES: &[Entry] = &[
    entry("ack", batch::check::check_ack, 16, 4 * KIB),
    entry("answers", mysql::check::check_answers, 64, 64 * KIB),
    entry("body", batch::check::check_body, 256, 72 * MIB),
    entry("charset", binlog::value::check::check_charset, 16, 4 * KIB),
    entry("column", source::check::check_column, 64, 4 * KIB),
    entry("compressed", binlog::check::check_compressed, 4 * 1032, 1024 * KIB),
    entry("config", config::check_text, 4096, 64 * KIB),
    entry("denied", collector::denied::check_denied, 256, 4 * KIB),
    entry("desk", desk, 512, 128 * KIB),
    entry("event", binlog::decoder::check_decode, 1024, 1024 * KIB),
    entry("file", decode::check::check_file, 4096, 12 * MIB),
    entry("fragment", batch::check::check_fragment, 64, 4 * KIB),
    entry("frames", binlog::check::check_frames, 16, 4 * KIB),
    entry("gtids", binlog::check::check_gtids, 128, 4 * KIB),
    entry("gtid_text", position::check_text, 256, 4 * KIB),
    entry("index", source::check::check_index, 64, 4 * KIB),
    entry("json", binlog::value::check::check_json, 32, 4 * KIB),
    entry("json_diff", binlog::value::check::check_json_diff, 256, 8 * KIB),
    entry("log", binlog::check::check_log, 4096, 4 * MIB),
    entry("message", batch::check::check_message, 16, 4 * KIB),
    entry("packets", mysql::check::check_packets, 64, 512 * KIB),
    entry("payload", binlog::payload::check_payload, 64, 24 * MIB),
    entry("request", telemetry::http::check_request, 8, 4 * KIB),
    entry("round", batch::check::check_round, 2048, 256 * KIB),
    entry("rows", binlog::check::check_rows, 8192, 64 * KIB),
    entry("schema", batch::check::check_schema, 512, 4 * KIB),
    entry("session", session, 512, 128 * KIB),
    entry("state", buffer::check_state, 64, 4 * KIB),
    entry("statement", binlog::check::check_statement, 8, 4 * KIB),
    entry("table_map", binlog::check::check_table_map, 1024, 4 * KIB),
    entry("topic", batch::check::check_topic, 8, 4 * KIB),
    entry("value", binlog::value::check::check_value, 8192, 16 * KIB),
    entry("versions", binlog::check::check_versions, 256, 8 * KIB),
    entry("xid", binlog::check::check_xid, 32, 4 * KIB),
];

const fn entry(name: &'static str, check: fn(&[u8]), per_byte: usize, beside: usize) -> Entry {
    Entry { name, check, per_byte, beside }
}

/// No input takes longer: what takes more than linear time shows here.
const TIME_MAX: Duration = Duration::from_secs(5);

impl Entry {
    /// The entry of this name.
    #[allow(dead_code, reason = "the fuzz targets ask for it")]
    pub fn named(name: &str) -> &'static Self {
        let found = ENTRIES.iter().find(|entry| entry.name == name);
        found.unwrap_or_else(|| panic!("{name} is not in the table of entries"))
    }

    /// Checks one input: its property, its memory and its time.
    pub fn run(&self, input: &[u8]) {
        let began = Instant::now();
        let memory = allocation_counter::measure(|| (self.check)(input));
        let peak = usize::try_from(memory.bytes_max).unwrap_or(usize::MAX);
        let max = self.per_byte * input.len() + self.beside;
        let Self { name, .. } = self;
        assert!(peak <= max, "{name}: {} bytes of input took {peak} of {max}", input.len());
        assert!(began.elapsed() < TIME_MAX, "{name}: {} bytes took too long", input.len());
    }
}

fn desk(input: &[u8]) {
    collector::check::check_desk(input, Instant::now());
}

fn session(input: &[u8]) {
    mqtt::check::check_session(input, Instant::now());
}
