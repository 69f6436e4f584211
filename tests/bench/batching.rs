//! SHELL: rows → sealed batches: how fast and how small, beside what others would send.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rivulet::batch::{Identity, frame};
use rivulet::binlog::rows::Operation;
use rivulet::binlog::table::Table;
use rivulet::binlog::transaction::Begin;
use rivulet::envelope::Change;
use rivulet::envelope::debezium::{Debezium, Options};
use rivulet::position::Sequence;

use super::cutting::{Cut, Images, batches};
use super::decoding::best;
use super::figures::Figures;
use super::log::{Item, Log};

/// The agent's default cut, plain bytes.
const CUT_BYTES: usize = 64 << 10;
pub(crate) fn run(load: &str, log: &Log, figures: &mut Figures) {
    let rows = log.rows as f64;
    let seconds = best(|| batches(log, Cut::Bytes(CUT_BYTES), Images::Full, |_, _| ()));
    figures.put(load, "decode + batch + seal, rows/s", rows / seconds);
    let cuts = [
        ("16 rows", Cut::Rows(16)),
        ("100 rows", Cut::Rows(100)),
        ("1,000 rows", Cut::Rows(1000)),
        ("64 KiB", Cut::Bytes(CUT_BYTES)),
    ];
    for (name, cut) in cuts {
        let (mut bytes, mut raw, mut start, mut number) = (0, 0, 0, 0);
        batches(log, cut, Images::Full, |sealed, end| {
            number += 1;
            let sequence = Sequence(number);
            let (agent, previous_crc) = ("edge-1".to_owned(), u32::MAX);
            let identity = Identity { agent, epoch: 1, sequence, previous_crc, follows: None };
            bytes += frame(&identity, &sealed.meta, &sealed.body).len();
            raw += zstd3(log.bytes.get(start..end).unwrap_or_default());
            start = end;
        });
        let json = json(log, cut);
        let what = |what: &str| format!("{what}, {name} per batch, bytes/row");
        figures.put(load, &what("batch"), bytes as f64 / rows);
        figures.put(load, &what("binlog + zstd-3"), raw as f64 / rows);
        figures.put(load, &what("Debezium JSON + zstd-3"), json.zstd as f64 / rows);
        if matches!(cut, Cut::Bytes(_)) {
            figures.put(load, "binlog, bytes/row", log.bytes.len() as f64 / rows);
            figures.put(load, "Debezium JSON, bytes/row", json.plain as f64 / rows);
            if let Some(gzip) = json.gzip {
                figures.put(
                    load,
                    "Debezium JSON + gzip, one stream, bytes/row",
                    gzip as f64 / rows,
                );
            }
            figures.put(load, "Debezium JSON + zstd-3 : batch", json.zstd as f64 / bytes as f64);
            figures.put(load, "binlog + zstd-3 : batch", raw as f64 / bytes as f64);
        }
    }
}

fn zstd3(bytes: &[u8]) -> usize {
    zstd::bulk::compress(bytes, 3).expect("zstd takes all bytes").len()
}

/// The same rows as lines of JSON, in bytes.
struct Json {
    plain: usize,
    /// Each batch for itself.
    zstd: usize,
    gzip: Option<usize>,
}

fn json(log: &Log, cut: Cut) -> Json {
    let mut gzip = matches!(cut, Cut::Bytes(_)).then(Gzip::start).flatten();
    let mut sizes = Json { plain: 0, zstd: 0, gzip: None };
    let (mut envelope, mut lines) = (Debezium::new(Options::default()), Vec::new());
    let (mut begin, mut event) = (None::<Begin>, None::<(Arc<Table>, u64)>);
    let (mut rows, mut plain, mut row) = (0, 0, 0);
    log.each(|item| match item {
        Item::Begin(new) => begin = Some(new.clone()),
        Item::Rows(rows, table) => {
            event = Some((Arc::clone(table), rows.offset));
            row = 0;
        }
        Item::Row(before, after, operation) => {
            let (begin, (table, offset)) =
                (begin.as_ref().expect("begun"), event.as_ref().expect("an event"));
            let change = Change {
                connector: "mariadb",
                source: "edge-1",
                table,
                operation,
                before: (operation != Operation::Insert).then_some(before),
                after: (operation != Operation::Delete).then_some(after),
                file: "binlog.000001",
                offset: *offset,
                row,
                gtid: begin.gtid.as_ref(),
                server_id: begin.server_id,
                thread: begin.thread_id,
                changed_us: u64::from(begin.timestamp_s) * 1_000_000,
                rendered_us: u64::from(begin.timestamp_s) * 1_000_000 + 1000,
            };
            envelope.write(&change, &mut lines).expect("a server wrote it");
            lines.push(b'\n');
            (row, rows, plain) = (row + 1, rows + 1, plain + weight(before) + weight(after));
        }
        Item::Commit(_) => {
            let full = match cut {
                Cut::Rows(max) => rows >= max,
                Cut::Bytes(max) => plain >= max,
            };
            if full {
                sizes.add(&lines, gzip.as_mut());
                (rows, plain) = (0, 0);
                lines.clear();
            }
        }
    });
    sizes.add(&lines, gzip.as_mut());
    sizes.gzip = gzip.map(Gzip::finish);
    sizes
}

impl Json {
    fn add(&mut self, lines: &[u8], gzip: Option<&mut Gzip>) {
        self.plain += lines.len();
        self.zstd += zstd3(lines);
        if let Some(gzip) = gzip {
            gzip.pipe.write_all(lines).expect("gzip reads");
        }
    }
}

/// As the builder counts a row, so that both cut at the same places.
fn weight(image: &[rivulet::binlog::rows::Cell<'_>]) -> usize {
    4 + image
        .iter()
        .map(
            |cell| {
                if let rivulet::binlog::rows::Cell::Value(bytes) = cell {
                    bytes.len() + 2
                } else {
                    1
                }
            },
        )
        .sum::<usize>()
}

/// The machine's gzip, level 6.
struct Gzip {
    child: std::process::Child,
    pipe: std::process::ChildStdin,
    counter: std::thread::JoinHandle<usize>,
}

impl Gzip {
    fn start() -> Option<Self> {
        let mut command = Command::new("gzip");
        let command = command.arg("-6").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let (pipe, mut out) = (child.stdin.take()?, child.stdout.take()?);
        let counter = std::thread::spawn(move || {
            std::io::copy(&mut out, &mut std::io::sink()).expect("gzip writes") as usize
        });
        Some(Self { child, pipe, counter })
    }

    fn finish(self) -> usize {
        let Self { mut child, pipe, counter } = self;
        drop(pipe);
        let len = counter.join().expect("it only counts");
        assert!(child.wait().expect("gzip ends").success());
        len
    }
}
