//! SHELL: what a row takes on its way, ours and as the JSON of others, compressed batch by batch; and what that costs.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rivulet::binlog::rows::{Cell, Operation};
use rivulet::binlog::table::Table;
use rivulet::binlog::transaction::Begin;
use rivulet::envelope::Change;
use rivulet::envelope::canal::Canal;
use rivulet::envelope::debezium::{Debezium, Options};
use rivulet::envelope::maxwell::{Maxwell, Place};

use super::cutting::{Cut, Images, batches, framed_bytes};
use super::decoding::seconds;
use super::figures::Figures;
use super::log::{Item, Log};

/// Rows of a batch.
const CUTS: [(&str, u32); 3] = [("16", 16), ("100", 100), ("1,000", 1000)];
/// How many batches gzip compresses, each in a process of its own.
const GZIPPED: usize = 200;

pub(crate) fn run(load: &str, log: &Log, figures: &mut Figures) {
    let rows = log.rows as f64;
    let mut lines = Lines::of(log);
    for (name, cut) in CUTS {
        let mut put = |what: &str, bytes: f64| {
            figures.put(load, &format!("{what}, {name} rows a batch, bytes/row"), bytes);
        };
        let full = framed_bytes(log, Cut::Rows(cut), Images::Full) as f64 / rows;
        let changed = framed_bytes(log, Cut::Rows(cut), Images::Changed) as f64 / rows;
        put("Rivulet", full);
        put("Rivulet, changed columns only", changed);
        let (mut raw, mut start) = ([0; 2], 0);
        batches(log, Cut::Rows(cut), Images::Full, |_, end| {
            let part = log.bytes.get(start..end).unwrap_or_default();
            raw = [raw[0] + packed(part, 1), raw[1] + packed(part, 3)];
            start = end;
        });
        put("binlog, zstd-1", raw[0] as f64 / rows);
        put("binlog, zstd-3", raw[1] as f64 / rows);
        let mut maxwell = f64::NAN;
        for form in Form::ALL {
            let sizes = lines.sizes(form, cut);
            for (how, bytes) in [
                ("plain", sizes.plain),
                ("gzip", sizes.gzip),
                ("zstd-1", sizes.zstd[0]),
                ("zstd-3", sizes.zstd[1]),
            ] {
                put(&format!("{}, {how}", form.name()), bytes);
            }
            if form == Form::Maxwell {
                maxwell = sizes.zstd[1];
            }
        }
        // Goals: 0.80 of the shop's rows, 0.35 of the readings; of changed columns 0.55.
        let what = format!("Maxwell, zstd-3, {name} rows");
        figures.put(load, &format!("Rivulet : {what}"), full / maxwell);
        figures.put(load, &format!("Rivulet, changed columns only : {what}"), changed / maxwell);
    }
    costs(load, log, &mut lines, figures);
}

/// To encode and to compress, in turns, the least time of each counts. All read the same log, which does not.
fn costs(load: &str, log: &Log, lines: &mut Lines<'_>, figures: &mut Figures) {
    let mut least = [f64::INFINITY; 2 + Form::ALL.len()];
    for _ in 0..TURNS {
        let [reading, ours, json @ ..] = &mut least;
        shorten(reading, || {
            log.each(|item| {
                std::hint::black_box(matches!(item, Item::Row(..)));
            });
        });
        shorten(ours, || batches(log, Cut::Rows(1000), Images::Full, |_, _| ()));
        for (form, json) in Form::ALL.into_iter().zip(json) {
            shorten(json, || {
                lines.each(form, 1000, |lines, _| {
                    std::hint::black_box(packed(lines, 1));
                });
            });
        }
    }
    let [reading, ours, json @ ..] = least;
    let (rows, ours) = (log.rows as f64, ours - reading);
    figures.put(load, "Rivulet, encoded and compressed, ns/row", ours * 1e9 / rows);
    for (form, json) in Form::ALL.into_iter().zip(json) {
        let json = json - reading;
        let what = format!("{}, encoded, zstd-1, ns/row", form.name());
        figures.put(load, &what, json * 1e9 / rows);
        figures.put(load, &format!("Rivulet : {}, CPU", form.name()), ours / json);
    }
}

/// How often each is timed.
const TURNS: usize = 5;

fn shorten(least: &mut f64, work: impl FnOnce()) {
    *least = seconds(work).min(*least);
}

fn packed(bytes: &[u8], level: i32) -> usize {
    zstd::bulk::compress(bytes, level).expect("zstd takes all bytes").len()
}

/// Who else would write it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    Debezium,
    Maxwell,
    Canal,
}

impl Form {
    const ALL: [Self; 3] = [Self::Debezium, Self::Maxwell, Self::Canal];

    fn name(self) -> &'static str {
        match self {
            Self::Debezium => "Debezium",
            Self::Maxwell => "Maxwell",
            Self::Canal => "Canal",
        }
    }
}

/// Bytes per row.
struct Sizes {
    plain: f64,
    gzip: f64,
    zstd: [f64; 2],
}

/// The log's rows as lines of JSON.
struct Lines<'a> {
    log: &'a Log,
    /// How many rows each transaction has: Maxwell marks the last one.
    rows: Vec<u64>,
}

impl<'a> Lines<'a> {
    fn of(log: &'a Log) -> Self {
        let (mut rows, mut open) = (Vec::new(), 0);
        log.each(|item| match item {
            Item::Row(..) => open += 1,
            Item::Commit(_) => rows.push(std::mem::take(&mut open)),
            Item::Begin(_) | Item::Rows(..) => {}
        });
        Self { log, rows }
    }

    fn sizes(&mut self, form: Form, cut: u32) -> Sizes {
        let (mut plain, mut zstd, mut number) = (0, [0; 2], 0);
        let (mut gzip, mut gzipped) = (0, 0);
        let step = (self.log.rows as usize / cut as usize / GZIPPED).max(1);
        self.each(form, cut, |lines, rows| {
            plain += lines.len();
            zstd = [zstd[0] + packed(lines, 1), zstd[1] + packed(lines, 3)];
            if number % step == 0 {
                (gzip, gzipped) = (gzip + gzip_bytes(lines), gzipped + rows);
            }
            number += 1;
        });
        let rows = self.log.rows as f64;
        Sizes {
            plain: plain as f64 / rows,
            gzip: gzip as f64 / gzipped.max(1) as f64,
            zstd: zstd.map(|bytes| bytes as f64 / rows),
        }
    }

    /// Hands out each batch's lines, and how many rows they are of.
    fn each(&mut self, form: Form, cut: u32, mut take: impl FnMut(&[u8], u64)) {
        let mut writer = Writer::new(form);
        let (mut begin, mut event) = (None::<Begin>, None::<(Arc<Table>, u64)>);
        let (mut rows, mut of_event, mut of_transaction, mut transaction) = (0, 0, 0, 0);
        self.log.each(|item| match item {
            Item::Begin(new) => begin = Some(new.clone()),
            Item::Rows(rows, table) => {
                writer.end_event();
                event = Some((Arc::clone(table), rows.offset));
                of_event = 0;
            }
            Item::Row(before, after, operation) => {
                let (begin, (table, offset)) =
                    (begin.as_ref().expect("begun"), event.as_ref().expect("an event"));
                let change = view(begin, table, *offset, of_event, (before, after, operation));
                let last = of_transaction + 1 == self.rows[transaction];
                // What stands in the log as XID; a number of as many digits.
                let place = Place { xid: Some(begin.offset), row: of_transaction, last };
                writer.write(&change, place);
                (of_event, of_transaction, rows) = (of_event + 1, of_transaction + 1, rows + 1);
            }
            Item::Commit(_) => {
                writer.end_event();
                (of_transaction, transaction) = (0, transaction + 1);
                if rows >= u64::from(cut) {
                    take(&writer.lines, rows);
                    rows = 0;
                    writer.lines.clear();
                }
            }
        });
        if rows > 0 {
            take(&writer.lines, rows);
        }
    }
}

struct Writer {
    form: Form,
    debezium: Debezium,
    maxwell: Maxwell,
    canal: Canal,
    message: u64,
    lines: Vec<u8>,
}

impl Writer {
    fn new(form: Form) -> Self {
        Self {
            form,
            debezium: Debezium::new(Options::default()),
            maxwell: Maxwell::new(),
            canal: Canal::new(),
            message: 0,
            lines: Vec::new(),
        }
    }

    fn write(&mut self, change: &Change<'_>, place: Place) {
        let written = match self.form {
            Form::Debezium => self.debezium.write(change, &mut self.lines),
            Form::Maxwell => self.maxwell.write(change, place, &mut self.lines),
            Form::Canal => self.canal.add(change),
        };
        written.expect("a server wrote it");
        if self.form != Form::Canal {
            self.lines.push(b'\n');
        }
    }

    /// Canal has one message for all rows of an event.
    fn end_event(&mut self) {
        let start = self.lines.len();
        self.canal.finish(self.message + 1, &mut self.lines);
        if self.lines.len() > start {
            self.message += 1;
            self.lines.push(b'\n');
        }
    }
}

fn view<'a>(
    begin: &'a Begin,
    table: &'a Table,
    offset: u64,
    row: u32,
    (before, after, operation): (&'a [Cell<'a>], &'a [Cell<'a>], Operation),
) -> Change<'a> {
    let changed_us = u64::from(begin.timestamp_s) * 1_000_000;
    Change {
        connector: "mariadb",
        source: "edge-1",
        table,
        operation,
        before: (operation != Operation::Insert).then_some(before),
        after: (operation != Operation::Delete).then_some(after),
        file: "binlog.000001",
        offset,
        row,
        gtid: begin.gtid.as_ref(),
        server_id: begin.server_id,
        thread: begin.thread_id,
        changed_us,
        rendered_us: changed_us + 1000,
    }
}

/// As the machine's gzip makes it, level 6.
fn gzip_bytes(bytes: &[u8]) -> usize {
    let mut command = Command::new("gzip");
    let command = command.args(["-6", "-n"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("gzip is there");
    let (mut pipe, mut out) =
        (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(bytes).expect("gzip reads"));
        let mut packed = Vec::new();
        out.read_to_end(&mut packed).expect("gzip writes");
        assert!(child.wait().expect("gzip ends").success());
        packed.len()
    })
}
