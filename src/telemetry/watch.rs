//! SHELL: the pages as the configuration wants them, also when it changes while the program runs.

use std::sync::Arc;

use log::{error, info};

use crate::config::{Place, Telemetry};

use super::http::{HttpError, Server, Tell, Told, Wanted};

/// The pages, if they are wanted.
pub struct Watch {
    tell: Tell,
    /// Where they are, as it was wanted.
    place: Option<Place>,
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
        let place = settings.listen.clone();
        let server = place.as_ref().map(|place| serve(place, &tell)).transpose()?;
        Ok(Self { tell, place, server })
    }

    /// Moves to where it is wanted now.
    ///
    /// # Errors
    /// As [`Server::open`]; then all is served where it was.
    pub fn change(&mut self, settings: &Telemetry) -> Result<(), HttpError> {
        if self.place == settings.listen {
            return Ok(());
        }
        self.server = match &settings.listen {
            Some(wanted) => match serve(wanted, &self.tell) {
                Err(error) if !self.is_in_the_way_of(wanted) => return Err(error),
                Err(_) => Some(self.make_room(wanted)?),
                Ok(server) => Some(server),
            },
            None => None,
        };
        self.place.clone_from(&settings.listen);
        Ok(())
    }

    /// Whether it is the same port, on more or fewer addresses.
    fn is_in_the_way_of(&self, wanted: &Place) -> bool {
        matches!((&self.place, wanted), (Some(Place::Tcp(old)), Place::Tcp(new)) if old.port() == new.port())
    }

    /// Closes what is open for it, and opens that again if it was in vain.
    fn make_room(&mut self, wanted: &Place) -> Result<Server, HttpError> {
        self.server = None;
        serve(wanted, &self.tell).inspect_err(|_| {
            let old = self.place.as_ref().map(|place| serve(place, &self.tell)).transpose();
            self.server = old.unwrap_or_else(|error| {
                error!("{error}: nobody can watch");
                None
            });
        })
    }
}

/// What [`Watch::change`] takes over of a configuration.
pub const SETTINGS: &[&str] = &["telemetry.allow_remote", "telemetry.listen"];

fn serve(place: &Place, tell: &Tell) -> Result<Server, HttpError> {
    let server = Server::open(place, tell)?;
    info!("/metrics, /healthz and /status at {}", server.place());
    Ok(server)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn tell(_: Wanted) -> Told {
        Told { well: true, text: String::new() }
    }

    #[test]
    fn it_moves_to_where_it_is_wanted_and_stays_where_it_was_if_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Telemetry { listen: Some(Place::Unix(dir.path().join(name))) };
        let answers = |name: &str| UnixStream::connect(dir.path().join(name)).is_ok();
        let mut watch = Watch::open(&Telemetry::default(), tell).unwrap();
        watch.change(&at("a")).unwrap();
        assert!(answers("a"));
        watch.change(&at("b")).unwrap();
        assert!(!answers("a") && answers("b"));
        std::fs::write(dir.path().join("c"), "precious").unwrap();
        assert!(watch.change(&at("c")).is_err());
        assert!(answers("b") && !answers("c"));
        std::fs::remove_file(dir.path().join("c")).unwrap();
        watch.change(&at("c")).unwrap();
        assert!(!answers("b") && answers("c"), "it is tried again");
        watch.change(&Telemetry::default()).unwrap();
        assert!(!answers("c"));
        assert!(Watch::open(&at("no/such/folder"), tell).is_err());
    }

    #[test]
    fn a_port_can_be_taken_in_another_way_and_comes_back_if_not() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |ip: &str| {
            let address = SocketAddr::new(ip.parse().unwrap(), free);
            Telemetry { listen: Some(Place::Tcp(address)) }
        };
        let answers = |ip: &str| TcpStream::connect((ip, free)).is_ok();
        let mut watch = Watch::open(&at("127.0.0.1"), tell).unwrap();
        watch.change(&at("0.0.0.0")).unwrap();
        assert!(answers("127.0.0.1") && answers("127.0.0.2"));
        assert!(watch.change(&at("192.0.2.1")).is_err(), "nobody here has this address");
        assert!(answers("127.0.0.1") && answers("127.0.0.2"));
        watch.change(&at("127.0.0.1")).unwrap();
        assert!(answers("127.0.0.1") && !answers("127.0.0.2"));
    }
}
