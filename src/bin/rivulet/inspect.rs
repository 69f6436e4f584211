//! `rivulet decode`: files in, lines out.

use std::io::{self, Write};

use rivulet::decode::{self, Cause, DecodeFailure};
use rivulet::envelope::debezium;
use rivulet::telemetry::logger;

use crate::args::{Decode, Format};
use crate::common::Failure;

/// Decodes one file after the other; a damaged one does not hide those behind it.
pub(crate) fn run(order: &Decode) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut failure = None;
    for file in &order.files {
        let (line, result) = if order.stats {
            let stats = decode::stats(file);
            let summary = stats.as_ref().unwrap_or_else(|failure| &failure.summary);
            (Some(summary.to_json()), stats)
        } else {
            let format = match order.format {
                Format::Debezium => decode::Format::Debezium,
                Format::Text => decode::Format::Text,
            };
            let source = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A reader at a terminal is better served with text where the bytes are text.
            let debezium = debezium::Options {
                unknown_text: debezium::UnknownText::Utf8,
                ..debezium::Options::default()
            };
            let options = decode::Options { source, debezium };
            (None, decode::print(file, format, &mut out, &options))
        };
        let line = line.map_or(Ok(()), |line| writeln!(out, "{line}"));
        match line.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|e| Failure::runtime(format!("standard output: {e}")))?,
        }
        match result {
            Ok(summary) => remark(&summary, order.stats),
            Err(DecodeFailure { cause: Cause::Write(error), .. })
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                return Ok(());
            }
            Err(error) => {
                let code = if matches!(error.cause, Cause::Write(_)) { 1 } else { 3 };
                let text = match failure.take() {
                    None => error.to_string(),
                    Some(Failure { text, .. }) => format!("{text}\n{error}"),
                };
                failure = Some(Failure { code, text });
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What a reader of the output should know of a file that was read to its end.
fn remark(summary: &decode::Summary, stats: bool) {
    let say = |text: String| eprintln!("rivulet: {}: {}", summary.file, logger::tame(&text));
    if !summary.complete {
        say("the file ends inside an event or a transaction; what had not committed is left out"
            .into());
    }
    for table in summary.unnamed_tables.iter().filter(|_| !stats) {
        say(format!(
            "{table}: the log has no column names (binlog_row_metadata is not FULL): columns are \
             @1, @2, …, and integers whose sign it does not tell are shown as signed"
        ));
    }
    if summary.undecoded > 0 && !stats {
        say(format!("{} values are shown as bytes: their text is not known", summary.undecoded));
    }
    if summary.unapplied > 0 && !stats {
        say(format!(
            "{} JSON values are shown as differences: the log has not what they differ from",
            summary.unapplied
        ));
    }
}
