//! SHELL: the pages as the configuration wants them, also when it changes while the program runs.

use std::sync::Arc;

use log::{error, info};

use crate::config::{Place, Telemetry};

use super::http::{HttpError, Server, Tell, Told, Wanted};

/// The pages, if they are wanted.
pub struct Watch {
    tell: Tell,
    wanted: Option<Place>,
    server: Option<Server>,
}

impl Watch {
    /// Opens what is wanted.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub fn open(
        settings: &Telemetry,
        tell: impl Fn(Wanted) -> Told + Send + Sync + 'static,
    ) -> Result<Self, HttpError> {
        let tell: Tell = Arc::new(tell);
        let wanted = settings.listen.clone();
        let server = wanted.as_ref().map(|place| serve(place, &tell)).transpose()?;
        Ok(Self { tell, wanted, server })
    }

    /// Moves to where it is wanted now. Where that cannot be, nothing is served, and the log says why.
    pub fn change(&mut self, settings: &Telemetry) {
        if self.wanted == settings.listen && self.server.is_some() == self.wanted.is_some() {
            return;
        }
        // The same port, or the same file, may be wanted in another way.
        self.server = None;
        self.wanted.clone_from(&settings.listen);
        if let Some(place) = &self.wanted {
            match serve(place, &self.tell) {
                Ok(server) => self.server = Some(server),
                Err(error) => error!("{error}: nobody can watch"),
            }
        }
    }
}

fn serve(place: &Place, tell: &Tell) -> Result<Server, HttpError> {
    let server = Server::open(place, tell)?;
    info!("telemetry: /metrics, /healthz and /status at {}", server.place());
    Ok(server)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn it_moves_to_where_it_is_wanted_and_ends_where_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Telemetry { listen: Some(Place::Unix(dir.path().join(name))) };
        let answers = |name: &str| UnixStream::connect(dir.path().join(name)).is_ok();
        let tell = |_: Wanted| Told { well: true, text: String::new() };
        let mut watch = Watch::open(&Telemetry::default(), tell).unwrap();
        watch.change(&at("a"));
        assert!(answers("a"));
        watch.change(&at("b"));
        assert!(!answers("a") && answers("b"));
        std::fs::write(dir.path().join("c"), "precious").unwrap();
        watch.change(&at("c"));
        assert!(!answers("b") && !answers("c"));
        std::fs::remove_file(dir.path().join("c")).unwrap();
        watch.change(&at("c"));
        assert!(answers("c"), "it is tried again");
        watch.change(&Telemetry::default());
        assert!(!answers("c"));
        assert!(Watch::open(&at("no/such/folder"), tell).is_err());
    }
}
