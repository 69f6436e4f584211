//! mysql_cdc: reads a file; checks no checksum; leaves JSON as bytes.

use std::fs::File;

use mysql_cdc::binlog_reader::BinlogReader;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::row_data::RowData;

use crate::Outcome;
use crate::plain::{Cell, Take};

pub fn read(log: &str, take: &mut impl Take) -> Outcome {
    let file = File::open(log).map_err(|error| error.to_string())?;
    let reader = BinlogReader::new(file).map_err(|error| format!("{error:?}"))?;
    for event in reader.read_events() {
        let (_, event) = event.map_err(|error| format!("{error:?}"))?;
        match event {
            BinlogEvent::WriteRowsEvent(event) => each(&event.rows, take),
            BinlogEvent::DeleteRowsEvent(event) => each(&event.rows, take),
            BinlogEvent::UpdateRowsEvent(event) => {
                for row in &event.rows {
                    image(&row.before_update, take);
                    image(&row.after_update, take);
                    take.end_row();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn each(rows: &[RowData], take: &mut impl Take) {
    for row in rows {
        image(row, take);
        take.end_row();
    }
}

fn image(row: &RowData, take: &mut impl Take) {
    for value in &row.cells {
        take.value(value, write);
    }
    take.end_image();
}

fn write(value: &Option<MySqlValue>, cell: &mut Cell) {
    let Some(value) = value else { return cell.null() };
    match value {
        MySqlValue::TinyInt(number) => cell.number(number.cast_signed().into()),
        MySqlValue::SmallInt(number) => cell.number(number.cast_signed().into()),
        MySqlValue::MediumInt(number) => cell.number(((number << 8).cast_signed() >> 8).into()),
        MySqlValue::Int(number) => cell.number(number.cast_signed().into()),
        MySqlValue::BigInt(number) | MySqlValue::Set(number) => cell.number(number.cast_signed()),
        MySqlValue::Float(number) => cell.float(*number),
        MySqlValue::Double(number) => cell.double(*number),
        MySqlValue::Decimal(text) | MySqlValue::String(text) => cell.text(text),
        MySqlValue::Bit(bits) => cell.text(&format!("{bits:?}")),
        MySqlValue::Enum(number) => cell.number((*number).into()),
        MySqlValue::Blob(bytes) => cell.bytes(bytes),
        MySqlValue::Year(year) => cell.number((*year).into()),
        MySqlValue::Date(date) => cell.text(&format!("{date:?}")),
        MySqlValue::Time(time) => cell.text(&format!("{time:?}")),
        MySqlValue::DateTime(at) => {
            let [month, day, hour] = [at.month, at.day, at.hour].map(u32::from);
            let (minute, second) = (at.minute.into(), at.second.into());
            let micros = u64::from(at.millis) * 1000;
            cell.datetime([at.year.into(), month, day, hour, minute, second], micros);
        }
        MySqlValue::Timestamp(millis) => cell.timestamp(millis * 1000),
    }
}
