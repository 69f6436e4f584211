//! mysql-binlog-connector-rust: checks no checksum.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use mysql_binlog_connector_rust::binlog_error::BinlogError;
use mysql_binlog_connector_rust::binlog_parser::BinlogParser;
use mysql_binlog_connector_rust::column::column_value::ColumnValue;
use mysql_binlog_connector_rust::column::json::json_binary::JsonBinary;
use mysql_binlog_connector_rust::event::event_data::EventData;
use mysql_binlog_connector_rust::event::row_event::RowEvent;

use crate::Outcome;
use crate::plain::{Cell, Take};

pub fn read(log: &str, take: &mut impl Take) -> Outcome {
    let file = File::open(log).map_err(|error| error.to_string())?;
    let mut file = Buffered(BufReader::with_capacity(256 << 10, file));
    let mut parser =
        BinlogParser { checksum_length: 0, table_map_event_by_table_id: HashMap::new() };
    parser.check_magic(&mut file).map_err(|error| format!("{error:?}"))?;
    loop {
        match parser.next(&mut file) {
            Ok((_, event)) => rows(&event, take)?,
            // It knows no end of the file.
            Err(BinlogError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn rows(event: &EventData, take: &mut impl Take) -> Outcome {
    match event {
        EventData::WriteRows(event) => each(&event.rows, take),
        EventData::DeleteRows(event) => each(&event.rows, take),
        EventData::UpdateRows(event) => event.rows.iter().try_for_each(|(before, after)| {
            image(before, take)?;
            image(after, take)?;
            take.end_row();
            Ok(())
        }),
        EventData::TransactionPayload(event) => {
            event.uncompressed_events.iter().try_for_each(|(_, event)| rows(event, take))
        }
        _ => Ok(()),
    }
}

fn each(rows: &[RowEvent], take: &mut impl Take) -> Outcome {
    rows.iter().try_for_each(|row| {
        image(row, take)?;
        take.end_row();
        Ok(())
    })
}

fn image(row: &RowEvent, take: &mut impl Take) -> Outcome {
    for value in &row.column_values {
        match value {
            ColumnValue::Json(bytes) => {
                let text = JsonBinary::parse_as_string(bytes);
                let text = text.map_err(|error| format!("{error:?}"))?;
                take.value(&text, |text, cell| match serde_json::from_str(text) {
                    Ok(json) => cell.json(&json),
                    Err(_) => cell.text(text),
                });
            }
            value => take.value(value, write),
        }
    }
    take.end_image();
    Ok(())
}

fn write(value: &ColumnValue, cell: &mut Cell) {
    match value {
        ColumnValue::None => cell.null(),
        ColumnValue::Tiny(number) => cell.number((*number).into()),
        ColumnValue::Short(number) => cell.number((*number).into()),
        ColumnValue::Long(number) => cell.number((*number).into()),
        ColumnValue::LongLong(number) => cell.number(*number),
        ColumnValue::Float(number) => cell.float(*number),
        ColumnValue::Double(number) => cell.double(*number),
        ColumnValue::Decimal(text) | ColumnValue::Time(text) | ColumnValue::Date(text) => {
            cell.text(text);
        }
        ColumnValue::DateTime(text) => cell.datetime_text(text),
        ColumnValue::Timestamp(micros) => cell.timestamp(micros.cast_unsigned()),
        ColumnValue::Year(year) => cell.number((*year).into()),
        ColumnValue::String(bytes) | ColumnValue::Blob(bytes) | ColumnValue::Json(bytes) => {
            cell.bytes(bytes);
        }
        ColumnValue::Bit(number) | ColumnValue::Set(number) => cell.number(number.cast_signed()),
        ColumnValue::Enum(number) => cell.number((*number).into()),
    }
}

/// It seeks after each event, which a `BufReader` would answer by reading its buffer anew.
struct Buffered(BufReader<File>);

impl Read for Buffered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Seek for Buffered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(bytes) => self.0.seek_relative(bytes).map(|()| 0),
            to => self.0.seek(to),
        }
    }
}
