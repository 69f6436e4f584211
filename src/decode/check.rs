//! What holds for any bytes that `rivulet decode` is given: the property that tests and fuzzers share.

use std::io::Write;
use std::path::Path;

use super::{DecodeFailure, Format, Options, Prepared, Printer, Renderer, Scan, Summary};
use crate::binlog::check::reseal;
use crate::envelope::debezium::Debezium;
use crate::envelope::text::Text;

/// Counts what is written, and looks at each line's beginning.
#[derive(Default)]
struct Lines {
    bytes: usize,
    count: u64,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        self.count += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// zstd makes at most so many bytes of one: a block of 128 KiB takes four.
const PACKED_MAX: u64 = 1 << 15;

/// A whole file: it is written or refused; what is counted is what is written; and counting alone comes to
/// the same place.
///
/// `input` is a choice (0x01: as it is, else with its checksums put right; 0x02: text), and a file.
pub fn check_file(input: &[u8]) {
    let Some((choice, file)) = input.split_first() else { return };
    let file = if choice & 1 == 0 { reseal(file) } else { file.to_vec() };
    let name = Path::new("binlog.000001");
    let (mut lines, options) = (Lines::default(), Options::default());
    let (format, renderer) = match choice & 2 {
        0 => (Format::Debezium, Renderer::Debezium(Debezium::new(options.debezium))),
        _ => (Format::Text, Renderer::Text(Text::new())),
    };
    let printer =
        Printer { renderer, held: super::Held::default(), line: Vec::new(), out: &mut lines };
    let (mut prepared, mut prepared_too) = (Prepared::default(), Prepared::default());
    let printing = Scan::new(name, &options, Some(printer), &mut prepared);
    let printed = printing.run(|| Ok(&file[..]));
    let counting = Scan::<std::io::Sink>::new(name, &options, None, &mut prepared_too);
    let counted = counting.run(|| Ok(&file[..]));
    let summary = summary_of(&printed);
    let rows: u64 = summary.rows.values().map(|c| c.insert + c.update + c.delete).sum();
    if format == Format::Debezium {
        assert_eq!(lines.count, rows, "a line per committed change");
    }
    let packed =
        summary.events.keys().any(|kind| kind.contains("COMPRESSED") || kind.contains("PAYLOAD"));
    let rows_max = file.len() as u64 * if packed { PACKED_MAX } else { 1 };
    assert!(rows <= rows_max, "each row takes a byte at least");
    if printed.is_ok() {
        let counted = summary_of(&counted);
        assert_eq!((&summary.rows, &summary.events), (&counted.rows, &counted.events));
        assert_eq!(summary.last_position, counted.last_position);
    }
    let events: u64 = summary.events.values().sum();
    assert!(events * 19 <= file.len() as u64, "each event has a header");
    if let Err(failure) = &printed {
        assert!(failure.offset <= file.len() as u64, "the place is in the file");
        assert!(!failure.to_string().is_empty());
    }
}

fn summary_of(result: &Result<Summary, DecodeFailure>) -> &Summary {
    match result {
        Ok(summary) => summary,
        Err(failure) => &failure.summary,
    }
}
