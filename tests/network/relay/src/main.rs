//! A bad link between two network namespaces: what goes into one TUN device comes out of the other,
//! later, not at all, or no faster than the link.
//!
//! ```text
//!  namespace of the edge                                        namespace of the centre
//!   programs ─► IP ─► device A ─► judge: cut, kind, size, loss, queue ─► wait ─► device B ─► IP ─► programs
//! ```
//!
//! `network-relay A B SEED` makes the devices `A` and `B` in its own namespace, says `ready`, and obeys lines on
//! its standard input, each of which it answers with `ok` or with what is wrong:
//!
//! | line | what from then on |
//! |---|---|
//! | `delay MS` | each packet takes so long, one way |
//! | `loss PERCENT` | so many packets get lost, by chance |
//! | `rate BITS` | so many bits a second pass, each way; 0: all. A quarter of a second's worth may wait |
//! | `mtu BYTES` | longer packets vanish without a word; 0: none |
//! | `udp on`, `udp off` | whether UDP passes |
//! | `link on`, `link off` | whether anything passes |
//!
//! It ends with its standard input.

use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// What is true of both directions.
#[derive(Clone, Debug)]
struct Rules {
    delay: Duration,
    /// Of one.
    loss: f64,
    /// Bits a second; 0 is no limit.
    rate: u64,
    /// Bytes; 0 is no limit.
    mtu: usize,
    udp: bool,
    link: bool,
}

/// How much of the link's rate may wait.
const QUEUE: Duration = Duration::from_millis(250);
/// IPv4's protocol number.
const UDP: u8 = 17;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [edge, centre, seed] = words.as_slice() else {
        return Err(io::Error::other("network-relay A B SEED"));
    };
    let seed: u64 = seed.parse().map_err(io::Error::other)?;
    let rules = Rules { delay: Duration::ZERO, loss: 0.0, rate: 0, mtu: 0, udp: true, link: true };
    let rules = Arc::new(Mutex::new(rules));
    let (edge, centre) = (device(edge)?, device(centre)?);
    carry(&edge, &centre, &rules, seed);
    carry(&centre, &edge, &rules, seed ^ 1);
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let obeyed = obey(&line?, &mut rules.lock().unwrap_or_else(PoisonError::into_inner));
        say(&obeyed.map_or_else(|what| what, |()| "ok".to_owned()))?;
    }
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()
}

fn device(name: &str) -> io::Result<Arc<SyncDevice>> {
    DeviceBuilder::new().name(name).layer(Layer::L3).mtu(1500).build_sync().map(Arc::new)
}

fn obey(line: &str, rules: &mut Rules) -> Result<(), String> {
    let bad = || format!("`{line}` is no command");
    let (word, value) = line.trim().split_once(' ').ok_or_else(bad)?;
    let number = || value.parse::<f64>().ok().filter(|it| *it >= 0.0).ok_or_else(bad);
    let switch = || match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(bad()),
    };
    match word {
        "delay" => rules.delay = Duration::from_secs_f64(number()? / 1e3),
        "loss" => rules.loss = number()? / 100.0,
        "rate" => rules.rate = number()? as u64,
        "mtu" => rules.mtu = number()? as usize,
        "udp" => rules.udp = switch()?,
        "link" => rules.link = switch()?,
        _ => return Err(bad()),
    }
    Ok(())
}

/// One direction: a thread that judges, and one that waits.
fn carry(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, rules: &Arc<Mutex<Rules>>, seed: u64) {
    let (sender, receiver) = channel();
    let (from, to, rules) = (Arc::clone(from), Arc::clone(to), Arc::clone(rules));
    thread::spawn(move || judge(&from, &rules, &sender, fastrand::Rng::with_seed(seed)));
    thread::spawn(move || deliver(&to, &receiver));
}

type Packet = (Instant, Vec<u8>);

fn judge(
    from: &SyncDevice,
    rules: &Mutex<Rules>,
    due: &Sender<Packet>,
    mut chance: fastrand::Rng,
) {
    let mut buffer = vec![0; 65_536];
    // When the link will have sent all that waits.
    let mut free_at = Instant::now();
    loop {
        // A device that is not up yet, or is moved to its namespace, reads as an error.
        let Ok(len) = from.recv(&mut buffer) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let packet = &buffer[..len];
        let rules = rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_udp = packet.first().is_some_and(|it| it >> 4 == 4) && packet.get(9) == Some(&UDP);
        let passes = rules.link
            && (rules.udp || !is_udp)
            && (rules.mtu == 0 || len <= rules.mtu)
            && chance.f64() >= rules.loss;
        let now = Instant::now();
        free_at = free_at.max(now);
        if !passes || free_at - now > QUEUE {
            continue;
        }
        if rules.rate > 0 {
            free_at += Duration::from_secs_f64(len as f64 * 8.0 / rules.rate as f64);
        }
        if due.send((free_at + rules.delay, packet.to_vec())).is_err() {
            return;
        }
    }
}

fn deliver(to: &SyncDevice, due: &Receiver<Packet>) {
    for (at, packet) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        // What a device that is down does not take is lost, as on any link.
        let _ = to.send(&packet);
    }
}
