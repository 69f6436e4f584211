//! What lies between agent and collector, and what may happen to it: datagrams on a bad link, or a
//! broker with a bad link on either side.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use super::harness::broker::Broker;
use super::harness::relay::{Current, TcpRelay, UdpRelay, Weather};

pub enum Way {
    /// QUIC; the relay drops, delays, doubles and reorders.
    Straight(UdpRelay),
    /// TLS to a broker; the relays delay, hold and cut, the agent's and the collector's.
    Brokered(Box<Broker>, [TcpRelay; 2]),
}

impl Way {
    /// Bad for as long as it is not [`Way::calm`].
    pub fn storm(&self, random: &mut fastrand::Rng) {
        match self {
            Self::Straight(relay) => {
                let delay_max = Duration::from_millis([0, 10, 60, 250][random.usize(..4)]);
                let (loss, twice) = (random.u16(..150), random.u16(..150));
                relay.weather(Weather { loss, twice, delay_max, cut: false });
            }
            Self::Brokered(_, relays) => {
                let delay = Duration::from_millis([1, 10, 60, 250][random.usize(..4)]);
                relays[random.usize(..2)].current(Current { delay, held: false });
            }
        }
    }

    pub fn calm(&self) {
        match self {
            Self::Straight(relay) => relay.weather(Weather::default()),
            Self::Brokered(_, relays) => {
                relays.iter().for_each(|it| it.current(Current::default()));
            }
        }
    }

    /// Nothing passes for so long. What a stream held goes on then, or is lost with its connection.
    pub fn cut(&self, wait: Duration, random: &mut fastrand::Rng) {
        match self {
            Self::Straight(relay) => {
                relay.weather(Weather { cut: true, ..Weather::default() });
                sleep(wait);
            }
            Self::Brokered(_, relays) => {
                let relay = &relays[random.usize(..2)];
                relay.current(Current { held: true, ..Current::default() });
                sleep(wait);
                if random.u8(..4) > 0 {
                    relay.cut();
                }
            }
        }
        self.calm();
    }

    pub fn broker(&mut self) -> Option<&mut Broker> {
        match self {
            Self::Straight(_) => None,
            Self::Brokered(broker, _) => Some(broker),
        }
    }

    /// What has passed, and what the broker has said last.
    pub fn said(&self) -> String {
        match self {
            Self::Straight(relay) => {
                let counts = &relay.counts;
                let [passed, lost, twice, overtaken] =
                    [&counts.passed, &counts.lost, &counts.twice, &counts.overtaken]
                        .map(|n| n.load(Relaxed));
                format!(
                    "datagrams: {passed} passed, {lost} lost, {twice} doubled, {overtaken} overtaken"
                )
            }
            Self::Brokered(broker, _) => format!("broker: {}", broker.said()),
        }
    }
}
