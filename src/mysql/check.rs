//! What holds for any bytes in this room: the properties that tests and fuzzers share.
//!
//! The server is not trusted before it has proven itself, and a hostile one may say anything.

use super::auth::{self, Password};
use super::connection;
use super::error::ServerError;
use super::handshake::Greeting;
use super::packet::{Fields, Inbox, PacketError, frame};

/// Packets: whatever the portions, the same packets and the same end; a frame comes back as it was.
///
/// `input` is the size of the portions less 1, the limit (u8, in 16 bytes), and what was received.
pub fn check_packets(input: &[u8]) {
    let [portion, limit, received @ ..] = input else { return };
    let max = 16 * usize::from(*limit);
    let whole = packets(received, received.len().max(1), max);
    assert_eq!(whole, packets(received, 1 + usize::from(*portion), max));
    let mut wire = Vec::new();
    let next = frame(received, *limit, &mut wire);
    let mut inbox = Inbox::new(received.len());
    inbox.expect(*limit);
    feed(&mut inbox, &wire, 1 + usize::from(*portion));
    assert_eq!(inbox.poll(), Ok(true));
    assert_eq!((inbox.packet(), inbox.sequence()), (received, next));
}

fn packets(received: &[u8], portion: usize, max: usize) -> (Vec<Vec<u8>>, Option<PacketError>) {
    let (mut inbox, mut all) = (Inbox::new(max), Vec::new());
    for part in received.chunks(portion) {
        feed(&mut inbox, part, part.len());
        loop {
            match inbox.poll() {
                Ok(false) => break,
                Ok(true) => {
                    let packet = inbox.packet();
                    assert!(packet.len() <= max && packet.len() <= received.len());
                    all.push(packet.to_vec());
                    inbox.advance();
                }
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

fn feed(inbox: &mut Inbox, bytes: &[u8], portion: usize) {
    for part in bytes.chunks(portion) {
        let mut rest = part;
        while !rest.is_empty() {
            let space = inbox.space();
            let (now, later) = rest.split_at(rest.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            inbox.filled(now.len());
            rest = later;
        }
    }
}

/// All that a server says before and behind the login: read or refused, and never more than was sent.
///
/// `input` is a choice of the packet, and the packet.
pub fn check_answers(input: &[u8]) {
    let Some((choice, packet)) = input.split_first() else { return };
    match choice % 5 {
        0 => {
            let Ok(greeting) = Greeting::decode(packet) else { return };
            assert!(greeting.nonce.len() <= 20 && greeting.plugin.len() <= packet.len());
            let _ = (greeting.flavor(), greeting.numbers());
            let login = greeting.login(choice & 0x80 != 0, "user", &[7; 20], "plugin");
            assert!(login.len() <= 256, "what we answer does not depend on what was said");
        }
        1 => {
            let Ok(error) = ServerError::decode(packet) else { return };
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "no line can be forged");
            let _ = error.cause().advice();
        }
        2 => {
            let columns = 1 + u64::from(choice >> 3);
            let Ok(row) = connection::text_row(packet, columns) else { return };
            let bytes: usize = row.iter().flatten().map(String::len).sum();
            assert!(row.len() as u64 == columns && bytes + row.len() <= packet.len());
        }
        3 => {
            let _ = auth::encrypt(&Password::new("secret"), &[3; 20], packet);
        }
        _ => {
            let mut fields = Fields::new(packet);
            let (mut left, mut turns) = (packet.len(), 0);
            while let Ok(Some(bytes)) = fields.lenenc_bytes("field") {
                turns += 1;
                left -= bytes.len();
                assert!(turns <= packet.len());
            }
            assert!(fields.until_zero().len() + fields.rest().len() <= left);
        }
    }
}
