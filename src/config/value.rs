//! What one value must look like. Each check returns the value, or the end of a sentence that
//! begins with the key: `is "20", must be …`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Place;

/// A number with a unit, such as `"20ms"`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let wanted = r#"must be a duration such as "20ms", "10s" or "5min""#;
        let milliseconds = with_unit(value, &DURATION_UNITS, wanted)?;
        let duration = Duration::from_millis(milliseconds);
        if range.contains(&duration) {
            return Ok(duration);
        }
        let limits = [range.start(), range.end()]
            .map(|limit| shown_with_unit(limit.as_millis() as u64, &DURATION_UNITS));
        Err(format!("is {}, must be from {} to {}", shown(value), limits[0], limits[1]))
    }
}

/// A number of bytes with a unit, such as `"64KiB"`.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        let wanted = r#"must be a size such as "64KiB", "256MB" or "2GiB""#;
        let bytes = with_unit(value, &SIZE_UNITS, wanted)?;
        if range.contains(&bytes) {
            return Ok(bytes);
        }
        let limits =
            [*range.start(), *range.end()].map(|limit| shown_with_unit(limit, &SIZE_UNITS));
        Err(format!("is {}, must be from {} to {}", shown(value), limits[0], limits[1]))
    }
}

/// A whole number within limits.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = match value {
            DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix()),
            _ => return Err(format!("is {}, must be a whole number", shown(value))),
        };
        number.ok().filter(|number| range.contains(number)).ok_or_else(|| {
            format!("is {}, must be from {} to {}", shown(value), range.start(), range.end())
        })
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("is {}, must be true or false", shown(value)))
}

/// One of a few words.
pub(super) fn choice<T: Copy, const N: usize>(
    choices: [(&'static str, T); N],
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let word = value.as_str().unwrap_or_default();
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == word) {
            return Ok(*chosen);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let names = match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, first)) => format!("{} or {last}", first.join(", ")),
            None => String::new(),
        };
        Err(format!("is {}, must be {names}", shown(value)))
    }
}

/// A path that is not empty.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = words(value, "a path")?;
    if path.contains('\0') {
        return Err("must not hold a NUL".to_owned());
    }
    Ok(PathBuf::from(path))
}

/// Text that is not empty and holds no control character.
pub(super) fn plain(value: &DeValue<'_>) -> Result<String, String> {
    let text = words(value, "text")?;
    if text.chars().any(char::is_control) {
        return Err(format!("is {}, must not hold control characters", shown(value)));
    }
    Ok(text.to_owned())
}

/// A name that is safe in topics, certificates and file names.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    let text = words(value, "a name")?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let first = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if first && text.len() <= NAME_LEN_MAX && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is {}, must be 1 to {NAME_LEN_MAX} letters, digits, `-`, `_` or `.`, with a letter or digit first",
        shown(value)
    ))
}

/// A name that can begin the name of a file: as [`name`], without dots.
pub(super) fn file_stem(value: &DeValue<'_>) -> Result<String, String> {
    let text = name(value)?;
    if text.contains('.') {
        return Err(format!("is {}, must have no `.`", shown(value)));
    }
    Ok(text)
}

/// An agent's name: one label of a DNS name, because its certificate carries it as such.
pub(super) fn agent(value: &DeValue<'_>) -> Result<String, String> {
    let text = words(value, "a name")?;
    let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let dash = text.starts_with('-') || text.ends_with('-');
    if !dash && text.len() <= LABEL_LEN_MAX && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is {}, must be 1 to {LABEL_LEN_MAX} of a-z, 0-9 and `-`, with no `-` first or last",
        shown(value)
    ))
}

/// A host's name or address, without a port.
pub(super) fn host(value: &DeValue<'_>) -> Result<String, String> {
    let text = words(value, "a host")?;
    if is_host(text) {
        return Ok(text.to_owned());
    }
    Err(format!("is {}, must be a host's name or address, without a port", shown(value)))
}

/// How MQTT travels to an endpoint, and that endpoint's default port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Carrier {
    /// `quic://`, UDP.
    #[default]
    Quic,
    /// `mqtts://`, TLS over TCP.
    Tls,
    /// `mqtt://`, TCP in the clear.
    Plain,
}

/// `quic://host:port`, or a list of such, the best first; the port may be left out.
pub(super) fn endpoints(value: &DeValue<'_>) -> Result<Vec<(Carrier, String, u16)>, String> {
    let DeValue::Array(array) = value else { return Ok(vec![endpoint(value)?]) };
    if array.is_empty() || array.len() > ENDPOINTS_MAX {
        return Err(format!("must be 1 to {ENDPOINTS_MAX} endpoints, the best first"));
    }
    let mut found = Vec::new();
    for item in array {
        let next = endpoint(item.get_ref())?;
        if found.contains(&next) {
            return Err(format!("names {} twice", shown(item.get_ref())));
        }
        found.push(next);
    }
    Ok(found)
}

/// One of [`endpoints`].
pub(super) fn endpoint(value: &DeValue<'_>) -> Result<(Carrier, String, u16), String> {
    let wrong = || {
        format!(
            r#"is {}, must be such as "quic://collector.example.net:14567" or "mqtts://collector.example.net:8883""#,
            shown(value)
        )
    };
    let (scheme, rest) =
        value.as_str().and_then(|text| text.split_once("://")).ok_or_else(wrong)?;
    let (carrier, port_default) = match scheme {
        "quic" => (Carrier::Quic, QUIC_PORT),
        "mqtts" => (Carrier::Tls, TLS_PORT),
        "mqtt" => (Carrier::Plain, PLAIN_PORT),
        _ => return Err(wrong()),
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => port_default,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
    };
    if is_host(host) { Ok((carrier, host.to_owned(), port)) } else { Err(wrong()) }
}

/// Whether a host is this machine, by its address or the one name that is reserved for it (RFC 6761).
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// An address to listen on.
pub(super) fn listen(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        format!(
            r#"is {}, must be an address such as "[::]:14567" or "0.0.0.0:14567""#,
            shown(value)
        )
    })
}

/// An address to listen on, or `"off"`.
pub(super) fn listen_or_off(value: &DeValue<'_>) -> Result<Option<SocketAddr>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    value.as_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
        format!(
            r#"is {}, must be "off" or an address such as "[::]:8883" or "0.0.0.0:8883""#,
            shown(value)
        )
    })
}

/// Where something local is served, or `"off"`.
pub(super) fn place_or_off(value: &DeValue<'_>) -> Result<Option<Place>, String> {
    let wrong = || {
        format!(
            r#"is {}, must be "off", an address such as "127.0.0.1:9187" or a socket such as "unix:/run/rivulet/metrics.sock""#,
            shown(value)
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    if text == "off" {
        return Ok(None);
    }
    let place = match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') && !path.contains('\0') => Place::Unix(path.into()),
        Some(_) => return Err(wrong()),
        None => Place::Tcp(text.parse().map_err(|_| wrong())?),
    };
    Ok(Some(place))
}

/// The known key that `key` most likely was meant to be.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > 64 {
        return None;
    }
    let limit = if key.len() < 5 { 1 } else { 2 };
    let distances = known.iter().map(|other| (distance(key, other), *other));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, other)| other)
}

/// At most 60 characters of a text, control characters escaped.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().collect()
}

fn is_host(text: &str) -> bool {
    let fine = |c: char| !c.is_control() && !c.is_whitespace() && !"/@[]".contains(c);
    let name = !text.contains(':') || text.parse::<std::net::IpAddr>().is_ok();
    !text.is_empty() && text.len() <= 253 && name && text.chars().all(fine)
}

fn words<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, String> {
    match value.as_str() {
        Some("") => Err(format!("must be {what}, not empty")),
        Some(text) => Ok(text),
        None => Err(format!("is {}, must be {what} in quotes", shown(value))),
    }
}

fn with_unit(value: &DeValue<'_>, units: &[(&str, u64)], wanted: &str) -> Result<u64, String> {
    let wrong = || format!("is {}, {wanted}", shown(value));
    let text = value.as_str().ok_or_else(wrong)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) =
        units.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

fn shown_with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let divides = |(_, factor): &&(&str, u64)| number >= *factor && number.is_multiple_of(*factor);
    match units.iter().filter(divides).max_by_key(|(_, factor)| *factor) {
        Some((name, factor)) => format!("{}{name}", number / factor),
        None => number.to_string(),
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shortened(text)),
        DeValue::Integer(integer) => shortened(&integer.to_string()),
        DeValue::Float(float) => shortened(float.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let change = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = change.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The port that the public brokers use for MQTT over QUIC.
const QUIC_PORT: u16 = 14567;
/// MQTT's own ports.
const TLS_PORT: u16 = 8883;
const PLAIN_PORT: u16 = 1883;

/// More ways than this to one collector are a mistake.
const ENDPOINTS_MAX: usize = 8;

/// Long enough for any name, short enough for a topic, a file and a certificate.
const NAME_LEN_MAX: usize = 64;

/// What DNS allows for one label, in bytes.
const LABEL_LEN_MAX: usize = 63;

/// Enough to recognise a value in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn durations_and_sizes_need_a_unit() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        assert_eq!(any(&text("20ms")), Ok(Duration::from_millis(20)));
        assert_eq!(any(&text("5 min")), Ok(Duration::from_secs(300)));
        for wrong in ["20", "ms", "", "-1s", "1.5s", "20 parsecs", "99999999999999999999d"] {
            assert!(any(&text(wrong)).is_err(), "{wrong}");
        }
        let any = size(0..=u64::MAX);
        assert_eq!(any(&text("64KiB")), Ok(65_536));
        assert_eq!(any(&text("256MB")), Ok(256_000_000));
        for wrong in ["64", "64k", "KiB", "99999999TiB"] {
            assert!(any(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_told_in_the_largest_unit_that_fits() {
        let check = size(1 << 10..=1 << 30);
        assert_eq!(check(&text("1B")), Err(r#"is "1B", must be from 1KiB to 1GiB"#.to_owned()));
        let check = duration(Duration::from_millis(1500)..=Duration::from_secs(7200));
        assert_eq!(check(&text("1s")), Err(r#"is "1s", must be from 1500ms to 2h"#.to_owned()));
    }

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        for (given, carrier, host, port) in [
            ("quic://a.net:1", Carrier::Quic, "a.net", 1),
            ("quic://a.net", Carrier::Quic, "a.net", 14567),
            ("quic://[::1]:99", Carrier::Quic, "::1", 99),
            ("mqtts://a.net", Carrier::Tls, "a.net", 8883),
            ("mqtt://127.0.0.1", Carrier::Plain, "127.0.0.1", 1883),
        ] {
            assert_eq!(endpoints(&text(given)), Ok(vec![(carrier, host.to_owned(), port)]));
        }
        for wrong in ["a.net:1", "quic://", "quic://a:0", "quic://a:x", "quic://[::1", "tls://a:1"]
        {
            assert!(endpoints(&text(wrong)).is_err(), "{wrong}");
        }
        for (host, ours) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("a.net", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), ours, "{host}");
        }
    }

    #[test]
    fn names_are_safe_as_topics_and_files() {
        assert_eq!(name(&text("edge-17.north_b")), Ok("edge-17.north_b".to_owned()));
        let long = "x".repeat(65);
        for wrong in ["", "..", ".a", "-a", "a/b", "a+", "#", "ä", "a b", "a\n", &long] {
            assert!(name(&text(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn agents_are_labels_and_sinks_begin_file_names() {
        assert_eq!(agent(&text("edge-17")), Ok("edge-17".to_owned()));
        for wrong in ["", "Edge", "a.b", "a_b", "-a", "a-", "ä", &"x".repeat(64)] {
            assert!(agent(&text(wrong)).is_err(), "{wrong:?}");
        }
        assert_eq!(file_stem(&text("all_Changes-1")), Ok("all_Changes-1".to_owned()));
        for wrong in ["", "a.b", "../a", "_a"] {
            assert!(file_stem(&text(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_slip_of_the_keyboard_is_recognised() {
        let known = ["endpoint", "ca", "key", "keep_alive"];
        assert_eq!(nearest("endpiont", &known), Some("endpoint"));
        assert_eq!(nearest("keepalive", &known), Some("keep_alive"));
        assert_eq!(nearest("keys", &known), Some("key"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn values_in_messages_are_short_and_tame() {
        assert_eq!(shown(&text("a\u{1b}[31m\nb")), r#""a\u{1b}[31m\nb""#);
        assert_eq!(shortened(&"x".repeat(100)).chars().count(), 61);
    }
}
