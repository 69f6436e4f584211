//! SHELL: dialling: which endpoint, with which certificates, and what worked the last time.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::mqtt::Bytes;
use crate::transport::{
    ClientFiles, Connection, Dialer, EndpointAddress, QuicSettings, Scheme, TransportError,
};
use crate::uplink::{BudgetLimits, Route};

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
    /// The endpoint that last answered in this process.
    known: Option<usize>,
    look_at: Instant,
    /// New certificates wait to be used by a connection.
    renews: bool,
}

/// A dial beside a link that works.
pub(super) struct Beside {
    dialling: smol::future::Boxed<Result<Connection, TransportError>>,
    /// A better endpoint; otherwise the same one with new certificates.
    better: bool,
}

impl Beside {
    /// Waits for the dial's end. Can be cancelled.
    pub(super) async fn done(&mut self) -> Result<Connection, TransportError> {
        (&mut self.dialling).await
    }
}

impl Road {
    /// A road that begins with what worked before the restart.
    pub(super) fn open(mut dial: Dial, shared: Shared) -> Self {
        if let Some(held) = dial.budget.held_bytes_max() {
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            dial.quic.send_window = dial.quic.send_window.min(held);
        }
        let note = shared.lock().buffer.note(NOTE).ok().flatten();
        let worked = note.and_then(|note| String::from_utf8(note).ok());
        let remembered =
            dial.endpoints.iter().position(|endpoint| Some(endpoint.to_string()) == worked);
        let route = Route::new(dial.endpoints.len(), remembered.unwrap_or(0), dial.probe_every);
        let look_at = Instant::now() + dial.look_every;
        Self { dial, dialer: Dialer::default(), route, shared, known: None, look_at, renews: false }
    }

    /// The endpoint that is dialled or in use.
    pub(super) fn endpoint(&self) -> &EndpointAddress {
        self.at(self.route.current())
    }

    /// Whether batches may leave with a new connection's first packets.
    pub(super) fn is_early(&self) -> bool {
        self.dial.early_data
            && self.endpoint().scheme == Scheme::Quic
            && self.known == Some(self.route.current())
    }

    /// Dials the current endpoint with what is in the certificates' files now.
    pub(super) async fn connect(&mut self, early: &[Bytes]) -> Result<Connection, TransportError> {
        self.look();
        self.renews = false;
        let early = if self.is_early() { early } else { &[] };
        let (tls, dial) = (self.dial.files.tls(), &self.dial);
        let dialled =
            self.dialer.connect_early(self.endpoint(), tls, &dial.quic, dial.timeout, early).await;
        if dialled.is_err() {
            self.known = None;
        }
        dialled
    }

    /// The collector answered over the current endpoint.
    pub(super) fn worked(&mut self, now: Instant) {
        self.known = Some(self.route.current());
        if self.route.worked(now) {
            let name = self.endpoint().to_string();
            // It costs a dial after a restart, no more.
            if let Err(error) = self.shared.lock().buffer.set_note(NOTE, name.as_bytes()) {
                warn!("uplink: a restart would forget which endpoint works: {error}");
            }
        }
    }

    /// The link is gone. `answered`: the collector had answered on it. True if the next dial has to wait.
    pub(super) fn lost(&mut self, answered: bool, now: Instant) -> bool {
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
        let (index, better) = match self.route.probe().filter(|(_, at)| *at <= now) {
            _ if renews => (self.route.current(), false),
            probe => (probe?.0, true),
        };
        let (dialer, endpoint) = (self.dialer.clone(), self.at(index).clone());
        let (tls, quic) = (self.dial.files.tls().clone(), self.dial.quic.clone());
        let timeout = self.dial.timeout;
        let dialling =
            Box::pin(async move { dialer.connect(&endpoint, &tls, &quic, timeout).await });
        Some(Beside { dialling, better })
    }

    /// When [`Road::beside`] has something to do.
    pub(super) fn wake_at(&self) -> Instant {
        self.route.probe().map_or(self.look_at, |(_, at)| at.min(self.look_at))
    }

    /// A dial beside the link brought nothing.
    pub(super) fn beside_failed(&mut self, beside: &Beside, error: &TransportError, now: Instant) {
        if beside.better {
            let index = self.route.probe().map_or(0, |(index, _)| index);
            log::debug!("uplink: {} does not work yet: {error}", self.at(index));
            self.route.probe_failed(now);
        } else {
            warn!("uplink: the link keeps its old certificates, the new ones do not work: {error}");
            (self.renews, self.look_at) = (true, now + RENEW_AGAIN);
        }
    }

    /// The dial beside the link is the link from now on.
    pub(super) fn switched(&mut self, beside: &Beside) {
        if beside.better {
            self.route.switch();
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

/// The note's name in the buffer.
const NOTE: &str = "endpoint";
/// When certificates that did not work are tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
