//! Seeds for every entry: a real log taken apart into what each entry reads, and small ones of our own making.

use std::sync::Arc;

use rivulet::batch::{self, Ack, Begin, Builder, Commit, Demand, Follows, Identity, Settings};
use rivulet::binlog::compressed::Room;
use rivulet::binlog::decoder::{CHECKSUM_LEN, Decoder};
use rivulet::binlog::event::Event;
use rivulet::binlog::format::Flavor;
use rivulet::binlog::frame::{Framer, MAGIC, Part};
use rivulet::binlog::header::HEADER_LEN;
use rivulet::binlog::old_temporal::is_old;
use rivulet::binlog::payload::Payload;
use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::{Column, Kind, Table};
use rivulet::position::{Gtid, GtidSet, Position, Sequence};

/// The entry's name, and an input for it.
pub(crate) type Seed = (&'static str, Vec<u8>);

/// Larger inputs slow a fuzzer down more than they teach it.
const SEED_BYTES_MAX: usize = 4096;
/// A log's first events are like its later ones.
const LOG_BYTES_MAX: u64 = 6 << 10;

/// What a log gives. Events that cannot be decoded are seeds too; what cannot be framed ends it.
pub(crate) fn of_log(file: &[u8]) -> Vec<Seed> {
    let mut taker = Taker::default();
    let (mut framer, mut room) = (Framer::new(), Room::new());
    let (mut payload, mut stored) = (Vec::new(), MAGIC.to_vec());
    framer.push(file);
    loop {
        let start = framer.offset();
        let Ok(Some(frame)) = framer.next() else { break };
        if frame.part == Part::Whole {
            stored.extend_from_slice(frame.bytes);
            taker.event(frame.bytes, &mut room);
            continue;
        }
        payload.extend_from_slice(frame.bytes);
        if framer.offset() > start {
            stored.extend(taker.payload(&std::mem::take(&mut payload)));
        }
    }
    let mut seeds = taker.seeds;
    of_file(&mut seeds, file);
    if stored != file {
        of_file(&mut seeds, &stored);
    }
    seeds
}

/// The events at a file's start.
fn of_file(seeds: &mut Vec<Seed>, file: &[u8]) {
    let mut framer = Framer::new();
    let mut end = 0;
    framer.push(file);
    while let Ok(Some(_)) = framer.next() {
        if framer.offset() > LOG_BYTES_MAX {
            break;
        }
        end = framer.offset() as usize;
    }
    let head = file.get(..end).unwrap_or_default();
    for choice in [0, 2] {
        seeds.push(("file", [&[choice], head].concat()));
    }
    seeds.push(("log", [&[0], head].concat()));
    seeds.push(("frames", [&[18], head].concat()));
}

/// Takes a log's events apart.
#[derive(Default)]
struct Taker {
    seeds: Vec<Seed>,
    decoder: Decoder,
    map_body: Vec<u8>,
}

impl Taker {
    fn is_sealed(&self) -> bool {
        self.decoder.format().is_some_and(|format| format.checksum != Default::default())
    }

    fn event(&mut self, bytes: &[u8], room: &mut Room) {
        let decoded = self.decoder.decode_in(bytes, room);
        let end = bytes.len() - if self.is_sealed() { CHECKSUM_LEN } else { 0 };
        let Some(body) = bytes.get(HEADER_LEN..end) else { return };
        self.body(bytes[4], &bytes[17..19], body);
        if let Ok((_, event)) = decoded {
            self.content(bytes[4], body, event);
        }
    }

    /// A compressed transaction, and the events in it; returns the same one not compressed.
    fn payload(&mut self, bytes: &[u8]) -> Vec<u8> {
        let end = bytes.len() - if self.is_sealed() { CHECKSUM_LEN } else { 0 };
        push(&mut self.seeds, "payload", &[&bytes[..end]]);
        self.body(bytes[4], &bytes[17..19], &bytes[HEADER_LEN..end]);
        let (mut payload, mut plain) = (Payload::new(), Vec::new());
        let begun = payload.begin(bytes, 4, self.decoder.format());
        while begun.is_ok() && payload.advance() == Ok(true) {
            let Some(inner) = payload.event() else { break };
            plain.extend_from_slice(inner.bytes);
            let (kind, body) = (inner.bytes[4], &inner.bytes[HEADER_LEN..]);
            self.body(kind, &inner.bytes[17..19], body);
            if let Ok((_, event)) = self.decoder.decode_inner(&inner) {
                self.content(kind, body, event);
            }
        }
        let length = (plain.len() as u32).to_le_bytes();
        // Lengths of three bytes, behind 253.
        let length = [&[4, 253], &length[..3]].concat();
        let fields = [&[1], &length[..], b"\x02\x03\xfc\xff\x00", &[3], &length[..], &[0]].concat();
        let mut stored = [&bytes[..HEADER_LEN], &fields, &plain].concat();
        let whole = stored.len() + bytes.len() - end;
        stored[9..13].copy_from_slice(&(whole as u32).to_le_bytes());
        push(&mut self.seeds, "payload", &[&stored]);
        if self.is_sealed() {
            stored.extend(crc32fast::hash(&stored).to_le_bytes());
        }
        stored
    }

    fn body(&mut self, kind: u8, flags: &[u8], body: &[u8]) {
        push(&mut self.seeds, "event", &[&[kind], body]);
        push(&mut self.seeds, "versions", &[&[0x08, kind], flags, body]);
        let plain = [2, 23, 24, 25, 30, 31, 32].iter().position(|code| *code == kind);
        let packed = (165..=171).position(|code| code == kind);
        for (choice, index) in [(0x10, plain), (0, packed)] {
            if let Some(index) = index {
                push(&mut self.seeds, "compressed", &[&[choice | index as u8], body]);
            }
        }
    }

    fn content(&mut self, kind: u8, body: &[u8], event: Event<'_>) {
        let flavor = u8::from(self.decoder.flavor() == Some(Flavor::Mariadb));
        let seeds = &mut self.seeds;
        match event {
            Event::TableMap(map) => {
                self.map_body = body.to_vec();
                push(seeds, "table_map", &[&[0], body]);
                push(seeds, "table_map", &[&[1], body]);
                if let Ok(table) = map.to_table() {
                    self.decoder.define(map.table_id, Arc::new(table));
                }
            }
            Event::Rows(rows) => {
                let length = (self.map_body.len() as u16).to_le_bytes();
                push(seeds, "rows", &[&[flavor], &length, &self.map_body, &[kind], body]);
                if let Some(table) = self.decoder.table(rows.table_id) {
                    of_rows(seeds, table, &rows);
                }
            }
            Event::Query(query) => push(seeds, "statement", &[query.statement]),
            Event::XaPrepare { .. } => {
                let xid = body.get(1..).unwrap_or_default();
                push(seeds, "xid", &[xid, xid]);
            }
            Event::PreviousGtids(set) => {
                push(seeds, "gtids", &[&[0], body]);
                push(seeds, "gtid_text", &[set.to_string().as_bytes()]);
            }
            Event::MariadbGtidList(set) => {
                push(seeds, "gtids", &[&[1], body]);
                push(seeds, "gtid_text", &[set.to_string().as_bytes()]);
            }
            Event::Gtid(event) => {
                push(seeds, "gtid_text", &[event.gtid().to_string().as_bytes()]);
            }
            _ => {}
        }
    }
}

/// The values of the first rows.
fn of_rows(seeds: &mut Vec<Seed>, table: &Table, rows: &rivulet::binlog::rows::RowsEvent<'_>) {
    let Ok(mut iter) = rows.rows(table) else { return };
    let (mut before, mut after, mut count) = (Vec::new(), Vec::new(), 0);
    while count < 3 && iter.next_row(&mut before, &mut after) == Ok(true) {
        count += 1;
        for image in [&before, &after] {
            for (column, cell) in table.columns.iter().zip(image) {
                if let Cell::Value(bytes) = cell {
                    of_value(seeds, column, bytes);
                }
            }
        }
        for cells in before.iter().zip(&after) {
            if let (Cell::Value(bytes), Cell::JsonDiff(diffs)) = cells {
                let length = (bytes.len() as u16).to_le_bytes();
                push(seeds, "json_diff", &[&length, bytes, diffs]);
            }
        }
    }
}

fn of_value(seeds: &mut Vec<Seed>, column: &Column, bytes: &[u8]) {
    let [low, high] = column.meta.to_le_bytes();
    let [c0, c1] = column.collation.unwrap_or(0).to_le_bytes();
    let sign = match column.unsigned {
        None => 0,
        Some(unsigned) => 1 + u8::from(unsigned),
    };
    // The entry counts the types in their own order, which begins like the log's codes.
    let kind = match column.kind as u8 {
        code @ 0..=19 => code,
        140 => 20,
        141 => 21,
        242 => 22,
        code => code.wrapping_sub(245).wrapping_add(23),
    };
    push(seeds, "value", &[&[kind, low, high, 0, sign, c0, c1], bytes]);
    if column.kind == Kind::Json {
        push(seeds, "json", &[bytes]);
    }
    if is_old(column.kind) {
        for digits in 0..=6 {
            push(seeds, "value", &[&[kind, digits, 0, 0, sign, c0, c1], bytes, &[0; 3]]);
        }
    }
    if column.collation.is_some() {
        push(seeds, "charset", &[&[c0, c1], bytes]);
    }
}

fn push(seeds: &mut Vec<Seed>, name: &'static str, parts: &[&[u8]]) {
    let seed = parts.concat();
    if seed.len() <= SEED_BYTES_MAX {
        seeds.push((name, seed));
    }
}

/// Seeds that need no log.
pub(crate) fn own() -> Vec<Seed> {
    let mut seeds = Vec::new();
    batches(&mut seeds);
    sessions(&mut seeds);
    servers(&mut seeds);
    texts(&mut seeds);
    seeds
}

fn batches(seeds: &mut Vec<Seed>) {
    let columns =
        [Kind::Long, Kind::Varchar, Kind::Double].map(|kind| Column { kind, ..Column::default() });
    let table = Arc::new(Table { columns: columns.to_vec(), ..Table::default() });
    for level in [0, 1] {
        let mut builder = Builder::new(Settings { level });
        for number in 0..9_u32 {
            let gtid = Gtid::Mariadb { domain: 0, server: 1, sequence: number.into() };
            let position =
                Position { file: "b.1".to_owned(), gtid: Some(gtid), ..Position::default() };
            builder.begin(&Begin { position, timestamp_s: number, ..Begin::default() });
            builder.event(&table, Operation::Update, 4, 0);
            let (id, price) = (number.to_le_bytes(), (f64::from(number) / 4.0).to_le_bytes());
            let row = [Cell::Value(&id), Cell::Value(b"text"), Cell::Value(&price)];
            builder.row(&row, &[row[0], Cell::Null, row[2]]);
            builder.commit(Commit { end_offset: 100, xid: Some(5) });
        }
        let sealed = builder.seal(|_| false).expect("a batch").expect("not empty");
        let plain = (1_u32 << 20).to_le_bytes();
        let head: &[u8] =
            if level == 0 { &[6, 9, 0] } else { &[7, 9, 0, plain[0], plain[1], plain[2]] };
        push(seeds, "body", &[head, &sealed.body]);
        let identity = Identity {
            agent: "edge-17".to_owned(),
            epoch: 3,
            sequence: Sequence(9),
            previous_crc: 77,
            follows: Some(Follows { epoch: 2, since: Position::default(), ..Follows::default() }),
        };
        let message = batch::frame(&identity, &sealed.meta, &sealed.body);
        push(seeds, "message", &[&message]);
        let mut fragments = batch::Fragments::of(&identity, message.clone(), 128).expect("room");
        let first = fragments.next().expect("a message is not empty");
        push(seeds, "fragment", &[&[first.len() as u8], &first, &message]);
    }
    push(seeds, "schema", &[&batch::encode_schema(&table)]);
    let position = Some(Position::default());
    let demand = Some(Demand::Rewind);
    let ack = Ack { version: 1, epoch: 3, position, demand, ..Ack::default() };
    push(seeds, "ack", &[&ack.encode()]);
    push(seeds, "topic", &[b"rivulet/v1/default/edge-17/data"]);
    push(seeds, "topic", &[b"rivulet/v1/default/edge-17/ack"]);
    let round: &[u8] = b"\x02\x00\x01\x02\x06\x0a\x07abcdefgh\x02bcde\x00\x02qrst\x04\x46\x00\x00\x05\x02\x01\x00\x01";
    push(seeds, "round", &[round]);
}

fn sessions(seeds: &mut Vec<Seed>) {
    let client: &[&[u8]] = &[
        b"\x20\x03\x00\x00\x00",
        b"\x20\x0b\x01\x00\x08\x21\x00\x10\x27\x00\x01\x00\x00",
        b"\x20\x03\x00\x87\x00",
        b"\x40\x02\x00\x02",
        b"\x40\x04\x00\x02\x97\x00",
        b"\x90\x04\x00\x01\x00\x01",
        b"\x30\x07\x00\x03t/a\x00x",
        b"\x32\x09\x00\x03t/a\x00\x01\x00x",
        b"\xd0\x00",
        b"\xe0\x02\x8b\x00",
    ];
    let server: &[&[u8]] = &[
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x03e-1",
        b"\x10\x25\x00\x04MQTT\x05\xee\x00\x1e\x05\x11\x00\x00\x00\x09\x00\x03e-1\x00\x00\x01t\x00\x01x\x00\x01u\x00\x01p",
        b"\x82\x09\x00\x01\x00\x00\x03t/+\x01",
        b"\x32\x09\x00\x03t/a\x00\x01\x00x",
        b"\x40\x02\x00\x01",
        b"\xc0\x00",
        b"\xe0\x00",
    ];
    let desk: &[&[u8]] = &[
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x03e-1",
        b"\x10\x30\x00\x04MQTT\x05\x26\x00\x1e\x00\x00\x03e-1\x00\x00\x17rivulet/v1/t/e-1/status\x00\x01x",
        b"\x82\x1a\x00\x01\x00\x00\x14rivulet/v1/t/e-1/ack\x01",
        b"\x82\x07\x00\x02\x00\x00\x01#\x01",
        b"\x32\x1b\x00\x15rivulet/v1/t/e-1/data\x00\x01\x00x",
        b"\x32\x1b\x00\x15rivulet/v1/t/e-2/data\x00\x02\x00x",
        b"\x30\x1c\x00\x17rivulet/v1/t/e-1/status\x00{}",
        b"\xc0\x00",
        b"\xe0\x00",
    ];
    push(seeds, "desk", &[&[3, 0], &desk.concat()]);
    for packet in desk {
        for choice in [0, 1, 3, 4] {
            push(seeds, "desk", &[&[3, choice], packet]);
        }
    }
    push(seeds, "request", &[b"GET /metrics?x HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"]);
    push(seeds, "denied", &[b"# lost\nedge-17\nsha256 ", "0a".repeat(32).as_bytes(), b"\n"]);
    for (choice, packets) in [(0, client), (2, server)] {
        push(seeds, "session", &[&[3, choice], &packets.concat()]);
        for packet in packets {
            push(seeds, "session", &[&[3, choice], packet]);
            push(seeds, "session", &[&[3, choice | 1], packet]);
        }
    }
}

fn servers(seeds: &mut Vec<Seed>) {
    let mut greeting = b"\x0a9.7.4\0\x07\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
    greeting.extend([0; 10]);
    greeting.extend(b"ijklmnopqrst\0caching_sha2_password\0");
    push(seeds, "answers", &[&[0], &greeting]);
    push(seeds, "answers", &[&[1], b"\xff\xd4\x04#HY000Could not find first log file name"]);
    push(seeds, "answers", &[&[1], b"\xff\x15\x04Access denied"]);
    push(seeds, "answers", &[&[2 + 5], b"\x03abc\xfb"]);
    push(seeds, "answers", &[&[3], b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n"]);
    push(seeds, "packets", &[&[2, 9], b"\x03\0\0\0abc\x01\0\0\x01\xfe\0\0\0\x02"]);
    push(seeds, "index", &[b"./binlog.000001\n/var/lib/mysql/binlog.000002\n\n"]);
    for (kind, text) in [
        (0, "int(10) unsigned"),
        (1, "varchar(20)"),
        (2, "char(3)"),
        (3, "enum('a','it''s')"),
        (4, "set('x','y')"),
        (5, "decimal(10,2)"),
        (6, "mediumtext"),
        (8, "datetime(6)"),
        (11, "json"),
    ] {
        push(seeds, "column", &[&[kind, 20, 0, 0b1111], text.as_bytes()]);
    }
}

fn texts(seeds: &mut Vec<Seed>) {
    for sample in
        [include_str!("../../configs/agent.toml"), include_str!("../../configs/collector.toml")]
    {
        // The commented defaults are settings, too; what explains them is not.
        let lines = sample.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
        let settings: Vec<&str> = lines.filter(|line| !line.starts_with([' ', '#'])).collect();
        push(seeds, "config", &[settings.join("\n").as_bytes()]);
    }
    push(seeds, "config", &[b"agent = \"e\"\n[source]\nhost = \"h\"\nuser = \"u\"\n[uplink]\nendpoint = \"quic://c:1\"\n"]);
    push(
        seeds,
        "config",
        &[b"[collector]\nlisten = \"0.0.0.0:1\"\n[[sink]]\nname = \"a\"\nkind = \"file\"\n"],
    );
    for text in [
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,3e11fa47-71ca-11e1-9e33-c80aa9429563:tag:1:3-4",
        "0-1-17,1-1-3",
    ] {
        push(seeds, "gtid_text", &[text.as_bytes()]);
        assert!(text.parse::<GtidSet>().is_ok(), "{text}");
    }
    for statement in [
        "BEGIN",
        "ROLLBACK TO `s`",
        "/*!50100 CREATE */ TABLE t (a int) START TRANSACTION",
        "SET STATEMENT max_statement_time=1 FOR REPLACE t VALUES (1)",
        "XA START X'6f6e65',X'',1",
        "-- x\n# y\nCREATE TABLE d.select (`as` int COMMENT ' SELECT ')",
    ] {
        push(seeds, "statement", &[statement.as_bytes()]);
    }
    push(seeds, "json", &[&[0x00, 1, 0, 12, 0, 11, 0, 1, 0, 0x05, 1, 0, b'a']]);
    let xid = b"\x01\0\0\0\x02\0\0\0\x01\0\0\0abc";
    push(seeds, "xid", &[xid, xid]);
    // The buffer's own record: see `State` in `src/buffer/state.rs`.
    let checkpoint = b"\x00\x03b.1\x04\x00\x00\x01\x00\x01\x09\x00";
    push(seeds, "state", &[b"\x04boot\x01\x09\x07\x05\x02\x4d\x04\x06\x00\x00\x00"]);
    push(seeds, "state", &[b"\x00\x00\x01\x01\x00\x00\x00\x00\x00\x0d", checkpoint, b"\x00\x00"]);
    push(seeds, "state", &[checkpoint]);
}
