//! `rivulet decode`: files in, lines out.

use std::io::{self, Write};

use rivulet::decode::{self, Cause, DecodeFailure, OnStatement};
use rivulet::envelope::debezium;
use rivulet::telemetry::logger;

use crate::args::{Decode, Format};
use crate::common::Failure;

/// Decodes one file after the other; a damaged one does not hide those behind it.
pub(crate) fn run(order: &Decode) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut failure, mut prepared) = (None, decode::Prepared::default());
    let on_statement = if order.leave_out { OnStatement::LeaveOut } else { OnStatement::Stop };
    for file in &order.files {
        let (line, result) = if order.stats {
            let options = decode::Options { on_statement, ..decode::Options::default() };
            let stats = decode::stats(file, &options, &mut prepared);
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
            let options = decode::Options { source, debezium, on_statement };
            (None, decode::print(file, format, &mut out, &options, &mut prepared))
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
    if !prepared.is_empty() {
        let names: Vec<_> = prepared.names().take(NAMES_SHOWN).map(ToString::to_string).collect();
        let (count, names) = (prepared.len(), names.join("; "));
        let more = if count > NAMES_SHOWN { "; …" } else { "" };
        eprintln!(
            "rivulet: XA transactions that are prepared and neither committed nor rolled back in these files, \
             and so left out: {count} ({names}{more})"
        );
    }
    failure.map_or(Ok(()), Err)
}

/// Prepared transactions whose names are told.
const NAMES_SHOWN: usize = 10;

/// What a reader of the output should know of a file that was read to its end.
fn remark(summary: &decode::Summary, stats: bool) {
    let say = |text: String| eprintln!("rivulet: {}: {}", summary.file, logger::tame(&text));
    if !summary.complete {
        say("the file ends inside an event or a transaction; what had not committed is left out"
            .into());
    }
    if !summary.left_out.is_empty() {
        let kinds = summary.left_out.iter().map(|(kind, count)| format!("{kind}: {count}"));
        let first = summary.left_out_first.iter().map(|left| left.offset.to_string());
        let (kinds, first) = (kinds.collect::<Vec<_>>(), first.collect::<Vec<_>>());
        say(format!(
            "changes that were logged as statements are left out: {} (the first at {})",
            kinds.join(", "),
            first.join(", ")
        ));
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
