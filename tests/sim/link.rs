//! What a QUIC stream looks like from above: bytes arrive in order, late, in any portions; or the
//! whole connection is gone, at once or at one end only. Loss of single packets cannot be seen here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// How often things go wrong; 0 for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The connection breaks at one write in so many.
    pub(crate) cut_once_in: u32,
    /// The connection swallows everything from one write in so many on.
    pub(crate) die_once_in: u32,
    pub(crate) delay_max: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Agent,
    Collector,
}

/// What arrives at an end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    Lost,
}

type Pipe = VecDeque<(Instant, Arrival)>;

#[derive(Default)]
pub(crate) struct Link {
    to_agent: Pipe,
    to_collector: Pipe,
    dead: bool,
}

impl Link {
    pub(crate) fn send(
        &mut self,
        to: End,
        mut bytes: Vec<u8>,
        weather: Weather,
        rng: &mut Rng,
        now: Instant,
    ) {
        if self.dead {
            return;
        }
        while !bytes.is_empty() {
            let len = if rng.bool() { bytes.len() } else { 1 + rng.usize(0..bytes.len()) };
            let rest = bytes.split_off(len);
            self.put(to, Arrival::Bytes(bytes), now + delay(weather, rng));
            bytes = rest;
        }
        if once_in(rng, weather.cut_once_in) {
            self.cut(weather, rng, now);
        } else if once_in(rng, weather.die_once_in) {
            self.dead = true;
        }
    }

    /// What is under way may still arrive, or may not; then both ends notice, each in its time.
    pub(crate) fn cut(&mut self, weather: Weather, rng: &mut Rng, now: Instant) {
        for end in [End::Agent, End::Collector] {
            let kept = rng.usize(0..=self.pipe(end).len());
            self.pipe(end).truncate(kept);
            self.put(end, Arrival::Lost, now + delay(weather, rng));
        }
        self.dead = true;
    }

    /// The other end has said its last word: what is under way arrives, then the end.
    pub(crate) fn close(&mut self, towards: End, weather: Weather, rng: &mut Rng, now: Instant) {
        if !self.dead {
            self.put(towards, Arrival::Lost, now + delay(weather, rng));
            self.dead = true;
        }
    }

    /// Whether what is sent arrives.
    pub(crate) fn lives(&self) -> bool {
        !self.dead
    }

    /// One end is gone without a word.
    pub(crate) fn die(&mut self) {
        self.dead = true;
    }

    fn put(&mut self, to: End, what: Arrival, at: Instant) {
        let pipe = self.pipe(to);
        let at = pipe.back().map_or(at, |(last, _)| at.max(*last));
        pipe.push_back((at, what));
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        [&self.to_agent, &self.to_collector].into_iter().filter_map(|p| Some(p.front()?.0)).min()
    }

    pub(crate) fn arrive(&mut self, now: Instant) -> Option<(End, Arrival)> {
        for end in [End::Agent, End::Collector] {
            let pipe = self.pipe(end);
            if pipe.front().is_some_and(|(at, _)| *at <= now) {
                return pipe.pop_front().map(|(_, what)| (end, what));
            }
        }
        None
    }

    fn pipe(&mut self, end: End) -> &mut Pipe {
        match end {
            End::Agent => &mut self.to_agent,
            End::Collector => &mut self.to_collector,
        }
    }
}

/// True once in so many calls; never for 0.
pub(crate) fn once_in(rng: &mut Rng, times: u32) -> bool {
    times > 0 && rng.u32(0..times) == 0
}

fn delay(weather: Weather, rng: &mut Rng) -> Duration {
    weather.delay_max.mul_f64(rng.f64())
}
