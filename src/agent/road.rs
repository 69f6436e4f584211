//! SHELL: dialling: which endpoint, with which certificates, and what worked the last time.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::mqtt::{Bytes, Limits};
use crate::transport::{
    ClientFiles, Connection, Dialer, EndpointAddress, QuicSettings, Scheme, TransportError,
};
use crate::uplink::{BudgetLimits, Route};

use super::known::Known;
use super::pump::Shared;

/// Where to dial, and how.
pub(super) struct Dial {
    /// The ways to the collector, the best first; at least one.
    pub(super) endpoints: Vec<EndpointAddress>,
    /// Whom we believe and who we are.
    pub(super) files: ClientFiles,
    /// A QUIC connection.
    pub(super) quic: QuicSettings,
    /// How long a dial may take.
    pub(super) timeout: Duration,
    /// How often a better endpoint is tried.
    pub(super) probe_every: Duration,
    /// Whether batches leave with the first packets.
    pub(super) early_data: bool,
    /// How much may be sent.
    pub(super) budget: BudgetLimits,
    /// How often the certificates' files are looked at while a link stands.
    pub(super) look_every: Duration,
}

/// See the module.
pub(super) struct Road {
    dial: Dial,
    dialer: Dialer,
    route: Route,
    shared: Shared,
    /// The endpoint that last answered in this process: QUIC has a ticket for it.
    ticket: Option<usize>,
    known: Known,
    /// On the connection to this endpoint something may have left before it answered.
    hasty: Option<usize>,
    look_at: Instant,
    /// New certificates wait to be used by a connection.
    renews: bool,
    /// What QUIC may hold if no budget wants it to hold less.
    send_window: u32,
}

/// A dial beside a link.
pub(super) struct Beside {
    dialling: smol::future::Boxed<Result<Connection, TransportError>>,
    endpoint: usize,
    why: Why,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// It is a better endpoint.
    Better,
    /// There are new certificates, for the same endpoint.
    Renewed,
    /// The link is silent, and this goes another way.
    Silent,
}

impl Beside {
    /// Waits for the dial's end. Can be cancelled.
    pub(super) async fn done(&mut self) -> Result<Connection, TransportError> {
        (&mut self.dialling).await
    }

    /// Whether it is dialled because the link is silent.
    pub(super) fn is_detour(&self) -> bool {
        self.why == Why::Silent
    }
}

impl Road {
    /// A road that begins with what worked before the restart.
    pub(super) fn open(dial: Dial, dialer: Dialer, shared: Shared) -> Self {
        let note = |name| shared.lock().buffer.note(name).ok().flatten();
        let worked = note(NOTE).and_then(|note| String::from_utf8(note).ok());
        let names = dial.endpoints.iter().map(ToString::to_string);
        let known = Known::open(names, note(NOTE_LIMITS).as_deref());
        let remembered =
            dial.endpoints.iter().position(|endpoint| Some(endpoint.to_string()) == worked);
        let route = Route::new(dial.endpoints.len(), remembered.unwrap_or(0), dial.probe_every);
        let look_at = Instant::now() + dial.look_every;
        let (send_window, budget) = (dial.quic.send_window, dial.budget);
        let mut road = Self {
            dial,
            dialer,
            route,
            shared,
            ticket: None,
            known,
            hasty: None,
            look_at,
            renews: false,
            send_window,
        };
        road.keep_to(budget);
        road
    }

    /// Connections that are made from now on hold no more than a budget allows.
    pub(super) fn keep_to(&mut self, budget: BudgetLimits) {
        let held =
            budget.held_bytes_max().map_or(u32::MAX, |held| held.try_into().unwrap_or(u32::MAX));
        self.dial.quic.send_window = self.send_window.min(held);
    }

    /// The endpoint that is dialled or in use.
    pub(super) fn endpoint(&self) -> &EndpointAddress {
        self.at(self.route.current())
    }

    /// A session begins at the current endpoint: the limits within which it may speak before it is
    /// answered, if it may.
    pub(super) fn begin(&mut self) -> Option<Limits> {
        let current = self.route.current();
        let limits = self.known.begin(current);
        self.hasty = limits.map(|_| current);
        limits
    }

    /// Dials the current endpoint with what is in the certificates' files now.
    pub(super) async fn connect(&mut self, early: &[Bytes]) -> Result<Connection, TransportError> {
        self.look();
        self.renews = false;
        let has_ticket = self.ticket == Some(self.route.current());
        let early = if self.dial.early_data && has_ticket { early } else { &[] };
        let (tls, dial) = (self.dial.files.tls(), &self.dial);
        let dialled =
            self.dialer.connect_early(self.endpoint(), tls, &dial.quic, dial.timeout, early).await;
        if dialled.is_err() {
            (self.ticket, self.hasty) = (None, None);
        }
        dialled
    }

    /// The collector took us in over the current endpoint.
    pub(super) fn worked(&mut self, limits: Limits, now: Instant) {
        let current = self.route.current();
        self.ticket = Some(current);
        if self.route.worked(now) {
            let name = self.endpoint().to_string();
            self.keep(NOTE, name.as_bytes());
        }
        if let Some(note) = self.known.took_in(current, limits) {
            self.keep(NOTE_LIMITS, &note);
        }
    }

    fn keep(&self, name: &str, note: &[u8]) {
        // It costs a dial or some round trips after a restart, no more.
        if let Err(error) = self.shared.lock().buffer.set_note(name, note) {
            warn!("uplink: a restart would forget which endpoint works, and how: {error}");
        }
    }

    /// The link is gone. `answered`: the collector had answered on it. True if the next dial has to wait.
    pub(super) fn lost(&mut self, answered: bool, now: Instant) -> bool {
        if let Some(endpoint) = self.hasty.take() {
            self.known.ended(endpoint, answered);
        }
        if answered {
            self.route.lost(now);
            return true;
        }
        self.route.failed()
    }

    /// Something to dial beside the link, if it is time.
    pub(super) fn beside(&mut self, now: Instant) -> Option<Beside> {
        let mut renews = false;
        if self.look_at <= now {
            self.look_at = now + self.dial.look_every;
            self.look();
            renews = std::mem::take(&mut self.renews);
        }
        match self.route.probe().filter(|(_, at)| *at <= now) {
            _ if renews => Some(self.dial_beside(self.route.current(), Why::Renewed)),
            probe => Some(self.dial_beside(probe?.0, Why::Better)),
        }
    }

    /// Whether there is a way for when the link in use, over UDP, is silent.
    pub(super) fn has_detour(&self) -> bool {
        self.elsewhere().is_some()
    }

    /// The link is silent: something else to dial beside it, if there is and it is time.
    pub(super) fn detour(&mut self, now: Instant) -> Option<Beside> {
        let endpoint = self.elsewhere()?;
        if !self.route.detour(now) {
            return None;
        }
        info!(
            "uplink: nothing is heard over {}: {} is tried beside it",
            self.endpoint(),
            self.at(endpoint)
        );
        Some(self.dial_beside(endpoint, Why::Silent))
    }

    /// The next endpoint that goes over TCP, if the current one does not.
    fn elsewhere(&self) -> Option<usize> {
        let (count, current) = (self.dial.endpoints.len(), self.route.current());
        let others = (1..count).map(|step| (current + step) % count);
        let is_quic = |index: usize| self.at(index).scheme == Scheme::Quic;
        others.into_iter().find(|other| is_quic(current) && !is_quic(*other))
    }

    fn dial_beside(&self, endpoint: usize, why: Why) -> Beside {
        let (dialer, address) = (self.dialer.clone(), self.at(endpoint).clone());
        let (tls, quic) = (self.dial.files.tls().clone(), self.dial.quic.clone());
        let timeout = self.dial.timeout;
        let dialling =
            Box::pin(async move { dialer.connect(&address, &tls, &quic, timeout).await });
        Beside { dialling, endpoint, why }
    }

    /// When [`Road::beside`] has something to do.
    pub(super) fn wake_at(&self) -> Instant {
        self.route.probe().map_or(self.look_at, |(_, at)| at.min(self.look_at))
    }

    /// A dial beside the link brought nothing.
    pub(super) fn beside_failed(&mut self, beside: &Beside, error: &TransportError, now: Instant) {
        let endpoint = self.at(beside.endpoint);
        match beside.why {
            Why::Better => {
                log::debug!("uplink: {endpoint} does not work yet: {error}");
                self.route.probe_failed(now);
            }
            Why::Renewed => {
                warn!(
                    "uplink: the link keeps its old certificates, the new ones do not work: {error}"
                );
                (self.renews, self.look_at) = (true, now + RENEW_AGAIN);
            }
            Why::Silent => {
                log::debug!("uplink: {endpoint} does not work either: {error}");
                self.route.detour_failed(now);
            }
        }
    }

    /// The dial beside the link is the link from now on.
    pub(super) fn switched(&mut self, beside: &Beside, now: Instant) {
        if let Some(endpoint) = self.hasty.take() {
            self.known.ended(endpoint, true);
        }
        if beside.why != Why::Renewed {
            self.route.switch(beside.endpoint, now);
        }
    }

    /// Reads the certificates anew if their files have changed.
    fn look(&mut self) {
        match self.dial.files.refresh() {
            Ok(false) => {}
            Ok(true) => {
                info!("uplink: the certificates have changed");
                self.renews = true;
            }
            Err(error) => {
                warn!("uplink: the certificates have changed and cannot be used: {error}");
            }
        }
    }

    fn at(&self, index: usize) -> &EndpointAddress {
        self.dial.endpoints.get(index).expect("a route leads to one of them")
    }
}

/// The names of the notes in the buffer: which endpoint worked, and what each of them allowed.
const NOTE: &str = "endpoint";
const NOTE_LIMITS: &str = "limits";
/// When certificates that did not work are tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
