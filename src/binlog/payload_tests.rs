//! Payloads of all makes, whole and damaged.

use super::super::decoder::Decoder;
use super::super::format::Flavor;
use super::*;

fn event(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap();
    let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

fn row(size: usize) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0];
    body.extend((0..size).map(|at| (at % 251) as u8));
    event(30, &body)
}

const BEGIN: &[u8] = &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'B', b'E', b'G', b'I', b'N'];
const MAP: &[u8] = &[7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 3, 0, 0];

fn transaction() -> Vec<Vec<u8>> {
    vec![event(2, BEGIN), event(19, MAP), row(4), row(3000), row(8), event(16, &[1; 8])]
}

fn packed(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

/// A length-encoded integer of any size.
fn number(value: usize) -> Vec<u8> {
    [&[0xfe][..], &(value as u64).to_le_bytes()].concat()
}

fn field(kind: u8, value: usize) -> Vec<u8> {
    [&[kind, 9][..], &number(value)].concat()
}

fn fields(payload: usize, method: usize, plain: usize) -> Vec<u8> {
    let method = if method < 251 { vec![2, 1, method as u8] } else { field(2, method) };
    [method, field(1, payload), field(3, plain), vec![0]].concat()
}

/// The outer event with a checksum.
fn outer(fields: &[u8], payload: &[u8]) -> Vec<u8> {
    sealed(event(40, &[fields, payload].concat()))
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len() + CHECKSUM_LEN).unwrap();
    bytes[9..13].copy_from_slice(&length.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn compressed(events: &[Vec<u8>]) -> Vec<u8> {
    let plain = events.concat();
    let payload = packed(&plain);
    outer(&fields(payload.len(), 0, plain.len()), &payload)
}

fn format(checksum: Checksum) -> Format {
    let mut format = Format::plain(Flavor::Mysql);
    format.checksum = checksum;
    format
}

/// The events in it, and whether all came to its end.
struct Taken {
    events: Vec<Vec<u8>>,
    ended: bool,
    error: Option<DecodeError>,
}

fn take(payload: &mut Payload, bytes: &[u8], portion: usize, format: &Format) -> Taken {
    let mut taken = Taken { events: Vec::new(), ended: false, error: None };
    let first = bytes.len().min(portion.max(HEADER_LEN));
    let (head, rest) = bytes.split_at(first);
    let portions = std::iter::once(head).chain(rest.chunks(portion)).enumerate();
    for (index, portion) in portions {
        let pushed = match index {
            0 => payload.begin(portion, 77, Some(format)),
            _ => payload.push(portion),
        };
        let result = pushed.and_then(|()| {
            while payload.advance()? {
                let inner = payload.event().unwrap();
                assert_eq!(inner.offset, 77);
                assert!(!taken.ended, "nothing comes behind the last one");
                taken.ended = inner.last;
                taken.events.push(inner.bytes.to_vec());
            }
            Ok(())
        });
        if let Err(error) = result {
            payload.abandon();
            taken.error = Some(error);
            return taken;
        }
    }
    assert_eq!(taken.ended, !payload.is_open());
    taken
}

fn take_whole(bytes: &[u8]) -> Taken {
    take(&mut Payload::new(), bytes, bytes.len(), &format(Checksum::Crc32))
}

fn error(bytes: &[u8]) -> DecodeError {
    let taken = take_whole(bytes);
    assert!(!taken.ended);
    taken.error.expect("an error")
}

#[test]
fn portions_make_no_difference() {
    let plain = transaction().concat();
    let none = outer(&fields(plain.len(), 255, plain.len()), &plain);
    // As the servers write it: nothing is said of the plain length.
    let short = outer(&[&field(2, 255)[..], &field(1, plain.len()), &[0]].concat(), &plain);
    let mut payload = Payload::new();
    for bytes in [compressed(&transaction()), none, short] {
        for portion in [1, 2, 7, 19, 20, 64, 1000, bytes.len()] {
            let taken = take(&mut payload, &bytes, portion, &format(Checksum::Crc32));
            assert_eq!(taken.error, None, "portions of {portion}");
            assert!(taken.ended && taken.events == transaction(), "portions of {portion}");
        }
    }
}

#[test]
fn the_last_event_waits_for_the_checksum() {
    let mut bytes = compressed(&transaction());
    let all = bytes.len();
    let mut payload = Payload::new();
    let taken = take(&mut payload, &bytes[..all - 1], 50, &format(Checksum::Crc32));
    assert!(!taken.ended && taken.error.is_none());
    assert_eq!(taken.events, transaction()[..5]);
    assert!(payload.expect_closed().is_err());
    bytes[all - 1] ^= 1;
    payload.push(&bytes[all - 1..]).unwrap_err();
    payload.abandon();
    assert!(!payload.is_open() && payload.advance() == Ok(false) && payload.event().is_none());
}

#[test]
fn no_truncation_ends_the_transaction() {
    let whole = event(40, &compressed(&transaction())[HEADER_LEN..]);
    let whole = &whole[..whole.len() - CHECKSUM_LEN];
    for len in HEADER_LEN..whole.len() {
        // Torn off, and cut off by somebody who makes header and checksum fit.
        let torn = take_whole(&sealed(whole.to_vec())[..len]);
        assert!(!torn.ended, "{len}");
        let cut = take_whole(&sealed(whole[..len].to_vec()));
        assert!(!cut.ended && cut.error.is_some(), "{len}");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let whole = compressed(&transaction());
    for at in HEADER_LEN..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        let mut payload = Payload::new();
        for portion in [20, bytes.len()] {
            let taken = take(&mut payload, &bytes, portion, &format(Checksum::Crc32));
            assert!(!taken.ended && taken.error.is_some(), "byte {at}");
        }
    }
}

#[test]
fn without_a_checksum_damage_is_an_error_or_other_events_and_bounded() {
    let mut whole = compressed(&transaction());
    whole.truncate(whole.len() - CHECKSUM_LEN);
    let length = u32::try_from(whole.len()).unwrap();
    whole[9..13].copy_from_slice(&length.to_le_bytes());
    let mut payload = Payload::new();
    assert!(take(&mut payload, &whole, 33, &format(Checksum::Off)).ended);
    for at in HEADER_LEN..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            check_payload(&bytes);
        }
    }
    for len in 0..whole.len() {
        check_payload(&whole[..len]);
    }
}

#[test]
fn sizes_that_lie_are_noticed() {
    let plain = transaction().concat();
    let payload = packed(&plain);
    let (packed_len, plain_len) = (payload.len(), plain.len());
    for (said, plain_said) in [
        (packed_len - 1, plain_len),
        (packed_len + 1, plain_len),
        (usize::MAX, plain_len),
        (packed_len, plain_len - 1),
        (packed_len, plain_len + 1),
        (packed_len, 0),
        (packed_len, usize::MAX),
    ] {
        let error = error(&outer(&fields(said, 0, plain_said), &payload));
        assert!(matches!(error.reason, Reason::Invalid { .. }), "{said} {plain_said}: {error}");
    }
    for method in [1, 254, 256, usize::MAX] {
        let error = error(&outer(&fields(packed_len, method, plain_len), &payload));
        assert_eq!(error.reason, Reason::Invalid { value: method as u64 });
    }
    let none = outer(&[&field(1, packed_len)[..], &[0]].concat(), &payload);
    assert!(matches!(error(&none).reason, Reason::Missing { .. }));
    // An event inside that claims more than there is, or less than a header.
    for length in [0_u32, 18, 100_000, u32::MAX] {
        let mut events = transaction();
        events[3][9..13].copy_from_slice(&length.to_le_bytes());
        error(&compressed(&events));
    }
}

#[test]
fn a_field_that_is_not_known_is_left_out_and_one_without_end_is_not_waited_for() {
    let plain = transaction().concat();
    let payload = packed(&plain);
    let unknown = [&[9, 3, 1, 2, 3][..], &fields(payload.len(), 0, plain.len())].concat();
    assert!(take_whole(&outer(&unknown, &payload)).ended);
    let endless = [&[9][..], &number(1 << 40), &vec![0; 4096]].concat();
    let bytes = outer(&endless, &[]);
    let mut payload = Payload::new();
    let taken = take(&mut payload, &bytes, 100, &format(Checksum::Crc32));
    assert!(matches!(taken.error.unwrap().reason, Reason::Truncated { .. }));
}

#[test]
fn frames_follow_one_another_and_garbage_does_not() {
    let plain = transaction().concat();
    let (front, back) = plain.split_at(1234);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [packed(front), skippable, packed(back)].concat();
    assert!(take_whole(&outer(&fields(frames.len(), 0, plain.len()), &frames)).ended);
    for garbage in [&b"x"[..], b"garbage behind", &[0; 40], &[0x28, 0xb5, 0x2f, 0xfd]] {
        let payload = [&packed(&plain), garbage].concat();
        error(&outer(&fields(payload.len(), 0, plain.len()), &payload));
        let payload = [&plain, garbage].concat();
        error(&outer(&fields(payload.len(), 255, payload.len()), &payload));
    }
}

#[test]
fn a_payload_without_an_event_is_an_error() {
    for payload in [packed(b""), Vec::new()] {
        let error = error(&outer(&fields(payload.len(), 0, 0), &payload));
        assert!(matches!(error.reason, Reason::Missing { .. }), "{error}");
    }
}

#[test]
fn a_window_beyond_the_servers_is_refused() {
    let block = [&[0x01 | 19 << 3, 0, 0][..], &event(16, &[])].concat();
    let frame = |window| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window][..], &block].concat();
    let (fits, beyond) = (frame((27 - 10) << 3), frame((28 - 10) << 3));
    assert!(take_whole(&outer(&fields(fits.len(), 0, 19), &fits)).ended);
    let error = error(&outer(&fields(beyond.len(), 0, 19), &beyond));
    assert!(matches!(error.reason, Reason::Unsupported { .. }), "{error}");
}

#[test]
fn a_large_transaction_takes_the_memory_of_one_event() {
    let mut events = vec![event(2, BEGIN)];
    events.extend((0..400).map(|_| row(100_000)));
    events.push(event(16, &[1; 8]));
    let bytes = compressed(&events);
    let mut payload = Payload::new();
    payload.begin(&bytes[..1000], 4, Some(&format(Checksum::Crc32))).unwrap();
    let (mut rest, mut count, mut largest) = (bytes[1000..].chunks(1000), 0, 0);
    loop {
        if payload.advance().unwrap() {
            count += 1;
        } else if let Some(portion) = rest.next() {
            payload.push(portion).unwrap();
        } else {
            break;
        }
        largest = largest.max(payload.plain.capacity() + payload.input.capacity());
    }
    assert_eq!(count, 402);
    assert!(largest < 500_000, "{largest}");
}

#[test]
fn a_large_event_does_not_keep_its_memory() {
    let events = [row(20 << 20), row(10), row(3 << 20), event(16, &[1; 8])];
    let mut payload = Payload::new();
    assert!(take(&mut payload, &compressed(&events), 10_000, &format(Checksum::Crc32)).ended);
    let after = take(&mut payload, &compressed(&transaction()), 100, &format(Checksum::Crc32));
    assert!(after.ended);
    assert!(payload.plain.capacity() < KEEP_BYTES && payload.input.capacity() < KEEP_BYTES);
    let limited = Payload::new().with_event_bytes_max(1 << 20);
    let bytes = compressed(&events);
    let taken = take(&mut { limited }, &bytes, bytes.len(), &format(Checksum::Crc32));
    assert!(matches!(taken.error.unwrap().reason, Reason::Invalid { .. }));
}

#[test]
fn one_inside_another_and_an_end_inside_are_refused() {
    let mut payload = Payload::new();
    let first = compressed(&transaction());
    let format = format(Checksum::Crc32);
    assert!(payload.begin(&first[..60], 4, None).is_err());
    payload.begin(&first[..60], 4, Some(&format)).unwrap();
    let error = payload.begin(&first, 100, Some(&format)).unwrap_err();
    assert!(matches!(error.reason, Reason::Truncated { .. }));
    payload.abandon();
    assert!(matches!(payload.push(&first).unwrap_err().reason, Reason::Trailing { .. }));
    payload.begin(&first, 4, Some(&format)).unwrap();
    assert!(matches!(payload.push(&[1]).unwrap_err().reason, Reason::Trailing { left: 1 }));
}

#[test]
fn an_event_inside_has_the_place_of_the_outer_one() {
    let mut decoder = Decoder::new();
    let mut payload = Payload::new();
    let bytes = compressed(&transaction());
    payload.begin(&bytes, 500, Some(&format(Checksum::Crc32))).unwrap();
    let mut kinds = Vec::new();
    while payload.advance().unwrap() {
        let inner = payload.event().unwrap();
        let (header, event) = decoder.decode_inner(&inner).unwrap();
        assert_eq!(header.length as usize, bytes.len());
        assert!(inner.expect_last(false).is_ok());
        assert_eq!(inner.expect_last(true).is_ok(), header.kind == EventKind::Xid);
        drop(event);
        kinds.push(header.kind.code());
    }
    assert_eq!(kinds, [2, 19, 30, 30, 30, 16]);
}

#[test]
fn what_is_not_of_a_transaction_is_refused_inside() {
    for code in 0..=255_u8 {
        let bytes = compressed(&[event(code, &[0; 30]), event(16, &[1; 8])]);
        let mut payload = Payload::new();
        payload.begin(&bytes, 4, Some(&format(Checksum::Crc32))).unwrap();
        assert!(payload.advance().unwrap());
        let result = Decoder::new().decode_inner(&payload.event().unwrap());
        let out_of_place = result.is_err_and(|it| matches!(it.reason, Reason::OutOfPlace { .. }));
        assert_eq!(out_of_place, !EventKind::from(code).is_of_a_transaction(), "{code}");
    }
    for kind in [EventKind::TransactionPayload, EventKind::Rotate, EventKind::FormatDescription] {
        assert!(!kind.is_of_a_transaction());
    }
}
