//! A log as MySQL 9.7 writes it with `binlog_row_metadata=FULL`, made without a server and always the same: what
//! `make check` counts the instructions of.

use fastrand::Rng;

/// The log's content.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Inserts, updates and deletes of a wide and three narrower tables; most transactions small.
    Oltp,
    /// Inserts of 1 to 20 rows with five small columns.
    Small,
}

/// The bytes of a log file with so many transactions.
pub(crate) fn log(kind: Kind, transactions: u32) -> Vec<u8> {
    let tables: &[(&str, &[Column])] = match kind {
        Kind::Oltp => {
            &[("customers", CUSTOMERS), ("stock", STOCK), ("lines", LINES), ("meters", METERS)]
        }
        Kind::Small => &[("readings", READINGS)],
    };
    let (mut random, mut log) = (Rng::with_seed(7), vec![0xfe, b'b', b'i', b'n']);
    format_description(&mut log);
    for number in 0..transactions {
        event(&mut log, GTID, &gtid(number.into()));
        event(
            &mut log,
            QUERY,
            &[&[9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0][..], b"shop\0BEGIN"].concat(),
        );
        let statements = if kind == Kind::Oltp { random.usize(1..4) } else { 1 };
        for _ in 0..statements {
            let id = random.usize(..tables.len());
            let (name, columns) = tables[id];
            event(&mut log, TABLE_MAP, &table_map(id, name, columns));
            let rows = random.usize(1..=if kind == Kind::Oltp { 4 } else { 20 });
            let operation = match (kind, random.u8(..10)) {
                (Kind::Oltp, 0..4) => UPDATE_ROWS,
                (Kind::Oltp, 4) => DELETE_ROWS,
                _ => WRITE_ROWS,
            };
            event(&mut log, operation, &rows_event(&mut random, id, columns, operation, rows));
        }
        event(&mut log, XID, &u64::from(number).to_le_bytes());
    }
    log
}

const QUERY: u8 = 2;
const FORMAT_DESCRIPTION: u8 = 15;
const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const WRITE_ROWS: u8 = 30;
const UPDATE_ROWS: u8 = 31;
const DELETE_ROWS: u8 = 32;
const GTID: u8 = 33;

const SECOND: u32 = 1_767_225_600;

/// Header, body, CRC32.
fn event(log: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let start = log.len();
    let length = u32::try_from(19 + body.len() + 4).expect("events are small");
    log.extend(SECOND.to_le_bytes());
    log.push(kind);
    log.extend(1_u32.to_le_bytes());
    log.extend(length.to_le_bytes());
    log.extend((start as u32 + length).to_le_bytes());
    log.extend([0, 0]);
    log.extend(body);
    let crc = crc32fast::hash(&log[start..]);
    log.extend(crc.to_le_bytes());
}

fn format_description(log: &mut Vec<u8>) {
    let mut body = vec![4, 0];
    body.extend(b"9.7.4");
    body.resize(2 + 50, 0);
    body.extend([0, 0, 0, 0, 19]);
    body.extend([0; 42]);
    body.push(1);
    event(log, FORMAT_DESCRIPTION, &body);
}

fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![1];
    body.extend([7; 16]);
    body.extend((number + 1).to_le_bytes());
    body.push(2);
    body.extend(number.to_le_bytes());
    body.extend((number + 1).to_le_bytes());
    body
}

/// A column, and how to make its values.
struct Column {
    name: &'static str,
    /// The type byte.
    kind: u8,
    /// The type's metadata in the table map.
    meta: &'static [u8],
    unsigned: bool,
    make: fn(&mut Rng, &mut Vec<u8>),
}

const fn column(
    name: &'static str,
    kind: u8,
    meta: &'static [u8],
    make: fn(&mut Rng, &mut Vec<u8>),
) -> Column {
    Column { name, kind, meta, unsigned: false, make }
}

const fn unsigned(name: &'static str, kind: u8, make: fn(&mut Rng, &mut Vec<u8>)) -> Column {
    Column { unsigned: true, ..column(name, kind, &[], make) }
}

const CUSTOMERS: &[Column] = &[
    unsigned("id", 8, |random, out| out.extend(random.u64(..1 << 40).to_le_bytes())),
    column("code", 254, &[254, 144], |random, out| text(out, 1, &digits(random, 36))),
    column("first_name", 15, &[240, 0], |random, out| text(out, 1, &words(random, 1))),
    column("last_name", 15, &[240, 0], |random, out| text(out, 1, &words(random, 1))),
    column("email", 15, &[224, 1], |random, out| {
        text(out, 2, &(digits(random, 6) + "@example.org"));
    }),
    column("phone", 15, &[120, 0], |random, out| text(out, 1, &digits(random, 12))),
    column("street", 15, &[32, 3], |random, out| text(out, 2, &words(random, 3))),
    column("zip", 15, &[48, 0], |random, out| text(out, 1, &digits(random, 5))),
    column("city", 15, &[64, 1], |random, out| text(out, 2, &words(random, 1))),
    column("country", 254, &[254, 8], |_, out| text(out, 1, "FR")),
    column("language", 254, &[247, 1], |random, out| out.push(random.u8(1..=4))),
    column("balance", 246, &[14, 2], |random, out| {
        out.extend((0x8000 | random.u16(..1000)).to_be_bytes());
        out.extend(random.u32(..1_000_000_000).to_be_bytes());
        out.push(random.u8(..100));
    }),
    column("credit", 246, &[10, 2], |random, out| {
        out.extend((0x8000_0000 | random.u32(..100_000_000)).to_be_bytes());
        out.push(random.u8(..100));
    }),
    unsigned("points", 3, |random, out| out.extend(random.u32(..).to_le_bytes())),
    unsigned("orders", 2, |random, out| out.extend(random.u16(..).to_le_bytes())),
    column("level", 1, &[], |random, out| out.push(random.u8(..))),
    column("shard", 9, &[], |random, out| {
        out.extend_from_slice(&random.u32(..).to_le_bytes()[..3]);
    }),
    column("score", 5, &[8], |random, out| out.extend(random.f64().to_le_bytes())),
    column("rate", 4, &[4], |random, out| out.extend(random.f32().to_le_bytes())),
    column("created", 18, &[0], datetime),
    column("changed", 17, &[6], |random, out| {
        timestamp(random, out);
        out.extend_from_slice(&random.u32(..1_000_000).to_be_bytes()[1..]);
    }),
    column("remark", 252, &[2], |random, out| text(out, 2, &words(random, 5))),
];

const STOCK: &[Column] = &[
    column("id", 3, &[], |random, out| out.extend(random.u32(..).to_le_bytes())),
    column("k", 3, &[], |random, out| out.extend(random.u32(..).to_le_bytes())),
    column("c", 254, &[0xee, 0xe0], |random, out| text(out, 2, &digits(random, 119))),
    column("pad", 254, &[254, 240], |random, out| text(out, 1, &digits(random, 59))),
];

const LINES: &[Column] = &[
    unsigned("order_id", 8, |random, out| out.extend(random.u64(..1 << 40).to_le_bytes())),
    unsigned("line", 2, |random, out| out.extend(random.u16(..20).to_le_bytes())),
    column("sku", 15, &[160, 0], |random, out| {
        text(out, 1, &("SKU-".to_owned() + &digits(random, 8)));
    }),
    column("qty", 3, &[], |random, out| out.extend(random.u32(1..9).to_le_bytes())),
    column("price", 246, &[10, 4], |random, out| {
        out.extend_from_slice(&(0x80_0000 | random.u32(..1_000_000)).to_be_bytes()[1..]);
        out.extend(random.u16(..10_000).to_be_bytes());
    }),
    column("descr", 15, &[32, 3], |random, out| text(out, 2, &words(random, 3))),
];

const METERS: &[Column] = &[
    unsigned("meter", 3, |random, out| out.extend(random.u32(..).to_le_bytes())),
    column("ts", 18, &[3], |random, out| {
        datetime(random, out);
        out.extend((random.u16(..1000) * 10).to_be_bytes());
    }),
    column("kwh", 246, &[12, 4], |random, out| {
        out.extend((0x8000_0000 | random.u32(..100_000_000)).to_be_bytes());
        out.extend(random.u16(..10_000).to_be_bytes());
    }),
    column("voltage", 4, &[4], |random, out| out.extend(random.f32().to_le_bytes())),
    column("temp", 2, &[], |random, out| out.extend(random.i16(-300..450).to_le_bytes())),
    column("status", 1, &[], |random, out| out.push(random.u8(..3))),
    column("tariff", 254, &[254, 8], |_, out| text(out, 1, "HP")),
];

const READINGS: &[Column] = &[
    unsigned("id", 8, |random, out| out.extend(random.u64(..1 << 40).to_le_bytes())),
    unsigned("meter", 3, |random, out| out.extend(random.u32(..).to_le_bytes())),
    column("ts", 17, &[3], |random, out| {
        timestamp(random, out);
        out.extend((random.u16(..1000) * 10).to_be_bytes());
    }),
    column("value", 246, &[10, 3], |random, out| {
        out.extend((0x8000_0000 | random.u32(..10_000_000)).to_be_bytes());
        out.extend(random.u16(..1000).to_be_bytes());
    }),
    unsigned("quality", 1, |random, out| out.push(random.u8(..))),
];

/// 2026-01-01 to -28, any time of the day.
fn datetime(random: &mut Rng, out: &mut Vec<u8>) {
    let (day, hour, minute) = (random.u64(1..29), random.u64(..24), random.u64(..60));
    let whole = (2026 * 13 + 1) << 22 | day << 17 | hour << 12 | minute << 6 | random.u64(..60);
    out.extend_from_slice(&(0x80_0000_0000 | whole).to_be_bytes()[3..]);
}

fn timestamp(random: &mut Rng, out: &mut Vec<u8>) {
    out.extend((SECOND + random.u32(..1 << 20)).to_be_bytes());
}

/// The length in so many bytes, and the text.
fn text(out: &mut Vec<u8>, len_bytes: usize, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes()[..len_bytes]);
    out.extend_from_slice(text.as_bytes());
}

fn digits(random: &mut Rng, count: usize) -> String {
    (0..count).map(|_| random.digit(10)).collect()
}

fn words(random: &mut Rng, count: usize) -> String {
    const WORDS: [&str; 8] =
        ["Straße", "Łódź", "東京", "São Paulo", "Main Street", "call first", "émail", "spare part"];
    let all: Vec<_> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    all.join(" ")
}

fn table_map(id: usize, name: &str, columns: &[Column]) -> Vec<u8> {
    let mut body = vec![id as u8 + 90, 0, 0, 0, 0, 0, 1, 0, 4];
    body.extend(b"shop\0");
    body.push(name.len() as u8);
    body.extend(name.as_bytes());
    body.extend([0, columns.len() as u8]);
    body.extend(columns.iter().map(|column| column.kind));
    let meta: Vec<u8> = columns.iter().flat_map(|column| column.meta).copied().collect();
    body.push(meta.len() as u8);
    body.extend(meta);
    body.extend(vec![0xff; columns.len().div_ceil(8)]);
    let numeric = columns.iter().filter(|column| matches!(column.kind, 1..=5 | 8 | 9 | 246));
    let mut signs = vec![0; numeric.clone().count().div_ceil(8)];
    for (nth, column) in numeric.enumerate() {
        signs[nth / 8] |= u8::from(column.unsigned) << (7 - nth % 8);
    }
    field(&mut body, 1, &signs);
    field(&mut body, 2, &[0xfc, 255, 0]);
    let names = columns.iter().flat_map(|column| prefixed(column.name));
    field(&mut body, 4, &names.collect::<Vec<u8>>());
    if columns.iter().any(|column| column.meta.first() == Some(&247)) {
        let labels = ["fr", "de", "en", "it"].into_iter().flat_map(prefixed);
        field(&mut body, 6, &std::iter::once(4).chain(labels).collect::<Vec<u8>>());
        field(&mut body, 10, &[0xfc, 255, 0]);
    }
    field(&mut body, 8, &[0]);
    body
}

fn prefixed(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

/// An optional field; all but the longest have a length of one byte.
fn field(body: &mut Vec<u8>, kind: u8, value: &[u8]) {
    body.push(kind);
    assert!(value.len() <= 250, "its length would take more bytes");
    body.push(value.len() as u8);
    body.extend(value);
}

fn rows_event(random: &mut Rng, id: usize, columns: &[Column], kind: u8, rows: usize) -> Vec<u8> {
    let mut body = vec![id as u8 + 90, 0, 0, 0, 0, 0, 1, 0, 2, 0, columns.len() as u8];
    let images = if kind == UPDATE_ROWS { 2 } else { 1 };
    let all = u32::MAX >> (32 - columns.len());
    for _ in 0..images {
        body.extend_from_slice(&all.to_le_bytes()[..columns.len().div_ceil(8)]);
    }
    for _ in 0..rows * images {
        // One column in sixteen is NULL, but for the key.
        let nulls = all & random.u32(..) & random.u32(..) & random.u32(..) & random.u32(..) & !1;
        body.extend_from_slice(&nulls.to_le_bytes()[..columns.len().div_ceil(8)]);
        for (index, column) in columns.iter().enumerate() {
            if nulls >> index & 1 == 0 {
                (column.make)(random, &mut body);
            }
        }
    }
    body
}
