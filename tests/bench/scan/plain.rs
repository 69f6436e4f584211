//! A value as the plain text that `tests/peers` describes.

use std::borrow::Cow;
use std::io::Write;

use rivulet::binlog::value::{Date, DateTime, Value, Why, render_text};

/// What stands for NULL: a value that no column of the logs can have.
pub(crate) const NULL: Value<'static> = Value::Bytes(Cow::Borrowed(b"~"), Why::CharsetUnknown);

pub(crate) fn push(value: &Value<'_>, millis: bool, line: &mut Vec<u8>) {
    let rounded = |micros: u32| if millis { micros / 1000 * 1000 } else { micros };
    let written = match value {
        Value::Float(number) => write!(line, "{:08x}", number.to_bits()),
        Value::Double(number) => write!(line, "{:016x}", number.to_bits()),
        Value::UInt(number) => write!(line, "{number}"),
        Value::Enum { index, .. } => write!(line, "{index}"),
        Value::Set { bits, .. } => write!(line, "{bits}"),
        Value::Timestamp { seconds, micros, .. } => match rounded(*micros) {
            0 => write!(line, "{seconds}"),
            micros => write!(line, "{seconds}.{micros:06}"),
        },
        Value::DateTime(DateTime { date, hour, minute, second, micros, .. }) => {
            let (Date { year, month, day }, micros) = (date, rounded(*micros));
            write!(
                line,
                "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
            )
        }
        Value::Bytes(bytes, _) => {
            printable(bytes, line);
            Ok(())
        }
        Value::Json(json) => {
            let mut text = Default::default();
            json.render(&mut text).expect("a server wrote it");
            let text: &[u8] = text.as_ref();
            let json: serde_json::Value = serde_json::from_slice(text).expect("it is JSON");
            printable(json.to_string().as_bytes(), line);
            Ok(())
        }
        value => {
            let mut text = Default::default();
            render_text(value, &mut text).expect("a server wrote it");
            printable(text.as_ref(), line);
            Ok(())
        }
    };
    written.expect("memory takes all");
}

fn printable(bytes: &[u8], line: &mut Vec<u8>) {
    line.extend(bytes.iter().filter(|byte| **byte >= b' ' && **byte != b'|'));
}
