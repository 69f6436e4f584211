//! What the maker of the files and their exam share.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rivulet::batch::{Batch, BatchError, Limits, Message, decode_schema};

use crate::harness::pipeline::Pipeline;

/// The source's log.
pub const LOG: &str = "binlog.000001";
/// A program's files, and where they are in a pipeline's folder.
pub const KEPT: [(&str, &str); 3] = [
    ("buffer.db", "agent/buffer.db"),
    ("buffer.db.lock", "agent/buffer.db.lock"),
    ("journal.db", "collector/journal.db"),
];
/// A batch as it was sent, and its table's schema.
pub const BATCH: [&str; 2] = ["batch.bin", "schema.bin"];
/// What the batch decodes to.
pub const CHANGES: &str = "batch.txt";
/// What the sink prints in the end.
pub const LINES: &str = "lines.jsonl";

/// A pipeline that stands where the files were made: nothing runs yet, and no line has been written.
pub fn pipeline(golden: &Path) -> Pipeline {
    let pipeline = Pipeline::of_file(&golden.join(LOG));
    for (name, place) in KEPT {
        fs::copy(golden.join(name), pipeline.path(place)).expect("a file of a first version");
    }
    pipeline
}

/// Lines without the moment at which they were written, and without the version that wrote them.
pub fn timeless(lines: &str) -> String {
    let own = concat!("\"rivulet-", env!("CARGO_PKG_VERSION"), "\"");
    let ends = lines.lines().map(|line| {
        let (line, _) = line.rsplit_once(",\"ts_ms\":").expect("a line says when it was written");
        assert!(line.contains(own), "no version in {line}");
        format!("{}\n", line.replace(own, "\"rivulet\""))
    });
    ends.collect()
}

/// All that a batch says.
pub fn describe(message: &[u8], schema: &[u8]) -> Result<String, BatchError> {
    let message = Message::parse(message)?;
    let table = Arc::new(decode_schema(schema)?);
    let batch = Batch::open(&message.meta, message.body, Limits::default())?;
    let (identity, meta) = (&message.identity, &message.meta);
    let mut text = format!(
        "epoch {} batch {} behind {:08x}: {} to {}, {} transactions, {} rows\n{}.{}:",
        identity.epoch,
        identity.sequence,
        identity.previous_crc,
        meta.first,
        meta.last,
        meta.transactions,
        meta.rows,
        table.schema,
        table.name
    );
    for column in &table.columns {
        write!(text, " {}", column.name).expect("a text grows");
    }
    text.push('\n');
    batch.replay(
        0,
        |_| Some(table.clone()),
        |change| {
            let (row, at) = (change.row_in_transaction, change.offset);
            writeln!(text, "{:?} at {at} of {} s, row {row}", change.operation, change.timestamp_s)
                .expect("a text grows");
            writeln!(text, "  before {:?}\n  after {:?}", change.before, change.after)
                .expect("a text grows");
            Ok::<(), BatchError>(())
        },
    )?;
    Ok(text)
}
