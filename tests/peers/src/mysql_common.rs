//! mysql_common: checks checksums; reads MySQL's compressed transactions.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{Event, EventData};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;
use mysql_common::binlog::{BinlogFileHeader, EventStreamReader};
use mysql_common::constants::ColumnType;
use mysql_common::value::Value;

use crate::Outcome;
use crate::plain::{Cell, Take};

pub fn read(log: &str, take: &mut impl Take) -> Outcome {
    stream(log, take).map_err(|error| error.to_string())
}

fn stream(log: &str, take: &mut impl Take) -> io::Result<()> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(log)?);
    BinlogFileHeader::read(&mut file)?;
    let mut reader = EventStreamReader::new(BinlogVersion::Version4);
    while let Some(event) = reader.read(&mut file)? {
        event_rows(&mut reader, &event, take)?;
    }
    Ok(())
}

fn event_rows(
    reader: &mut EventStreamReader,
    event: &Event,
    take: &mut impl Take,
) -> io::Result<()> {
    match event.read_data()? {
        Some(EventData::RowsEvent(rows)) => {
            let map = reader.get_tme(rows.table_id());
            let map = map.ok_or_else(|| io::Error::other("rows without a table map"))?;
            for row in rows.rows(map) {
                let (before, after) = row?;
                for row in [before, after].into_iter().flatten() {
                    image(row, take)?;
                }
                take.end_row();
            }
        }
        Some(EventData::TransactionPayloadEvent(payload)) => {
            let mut inner = payload.decompressed()?;
            while !inner.fill_buf()?.is_empty() {
                let Some(event) = reader.read_decompressed(&mut inner)? else { break };
                event_rows(reader, &event, take)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn image(mut row: BinlogRow, take: &mut impl Take) -> io::Result<()> {
    for index in 0..row.len() {
        let kind = row.columns_ref().get(index).map(|column| column.column_type());
        match row.take(index) {
            Some(BinlogValue::Jsonb(json)) => {
                let json = serde_json::Value::try_from(json).map_err(io::Error::other)?;
                take.value(&json, |json, cell| cell.json(json));
            }
            Some(value) => take.value(&value, |value, cell| write(value, kind, cell)),
            None => take.value(&(), |(), cell| cell.null()),
        }
    }
    take.end_image();
    Ok(())
}

fn write(value: &BinlogValue<'_>, kind: Option<ColumnType>, cell: &mut Cell) {
    let BinlogValue::Value(value) = value else { return cell.text(&format!("{value:?}")) };
    match value {
        Value::NULL => cell.null(),
        Value::Bytes(bytes) if kind == Some(ColumnType::MYSQL_TYPE_SET) => {
            let number = bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            cell.number(number.cast_signed());
        }
        Value::Bytes(bytes) => cell.bytes(bytes),
        Value::Int(number) => cell.number(*number),
        Value::UInt(number) => cell.number(number.cast_signed()),
        Value::Float(number) => cell.float(*number),
        Value::Double(number) => cell.double(*number),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let [month, day, hour] = [*month, *day, *hour].map(u32::from);
            let (minute, second) = ((*minute).into(), (*second).into());
            cell.datetime([(*year).into(), month, day, hour, minute, second], (*micros).into());
        }
        Value::Time(..) => cell.text(&format!("{value:?}")),
    }
}
