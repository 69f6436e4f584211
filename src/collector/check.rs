//! What holds for any bytes at the collector's desk: the properties that tests and fuzzers share.

use std::time::Instant;

use crate::mqtt::{Input, ServerSettings};

use super::desk::{Desk, Wish};

/// An agent that says anything, in any portions: it brings batches only once it is in, nothing is larger than
/// what it said, and what it is told is a small multiple of that.
///
/// `input` is the size of the portions less 1, a choice (0x01: it is in already; 0x02: its batches are
/// refused; 0x04: nobody is let in), and what it says; `now` is any time.
pub fn check_desk(input: &[u8], now: Instant) {
    let [portion, choice, said @ ..] = input else { return };
    let settings = ServerSettings {
        receive_maximum: 8,
        packet_bytes_max: 1 << 16,
        keep_alive_s_max: 30,
        patience: std::time::Duration::from_secs(20),
    };
    let mut desk = Desk::new(settings, "t", "e-1");
    let mut is_in = false;
    let _ = desk.handle(Input::Opened, now);
    if choice & 1 != 0 {
        let hello = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x03e-1";
        assert_eq!(desk.handle(Input::Bytes(hello), now), Ok(()));
        assert_eq!(desk.wish(), Some(Wish::Entered));
        is_in = true;
    }
    if choice & 4 != 0 {
        desk.refuse_all(crate::mqtt::Reason::SERVER_BUSY);
    }
    while desk.poll().is_some() {}
    let mut told = 0;
    for part in said.chunks(1 + usize::from(*portion)) {
        let mut over = desk.handle(Input::Bytes(part), now).is_err();
        while let Some(wish) = desk.wish() {
            match wish {
                Wish::Entered => {
                    assert!(!is_in && choice & 4 == 0, "one comes in once, if at all");
                    is_in = true;
                }
                Wish::Batch { token, message } => {
                    assert!(is_in && message.len() < said.len());
                    over |= desk.done(token, choice & 2 != 0, now).is_err();
                }
                Wish::WantsAck | Wish::WantsStatus => assert!(is_in),
                Wish::Status(status) => assert!(is_in && status.len() < said.len()),
                Wish::Refused(what) => assert!(what.len() < 1000, "{what}"),
                Wish::Over(_) => over = true,
            }
        }
        told += std::iter::from_fn(|| desk.poll()).map(|bytes| bytes.len()).sum::<usize>();
        if over {
            break;
        }
        assert!(desk.begun().is_none_or(|begun| begun.arrived < begun.bytes || desk.is_over()));
    }
    assert!(told <= 8 * said.len() + 64, "{told} bytes of answers");
    assert_eq!(desk.unanswered(), 0);
    let _ = desk.handle(Input::Lost, now);
}
