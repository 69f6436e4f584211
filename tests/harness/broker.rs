//! Real brokers as processes: Mosquitto from Debian, and the two that `tests/interop` builds.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process::wait_until;
use super::server::{free_port, script, script_path};

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// TLS alone, with certificates and an ACL: `configs/brokers/mosquitto.conf` as it is.
    Mosquitto,
    /// The crate mqtt5: QUIC and TLS, everybody may everything.
    Mqtt5,
    /// The crate rmqtt: likewise.
    Rmqtt,
}

/// A broker that keeps nothing on disk but its configuration, or retained messages too. Dropping it kills it.
pub struct Broker {
    pub kind: Kind,
    /// MQTT over TLS.
    pub tls_port: u16,
    /// MQTT over QUIC; Mosquitto has none.
    pub quic_port: u16,
    folder: tempfile::TempDir,
    pki: PathBuf,
    packet_bytes_max: u32,
    keeps: bool,
    process: Option<Child>,
}

impl Broker {
    /// Starts one with the certificates that `rivulet-collector pki` made in this folder: `collector.pem`
    /// is the broker's here.
    pub fn start(kind: Kind, pki: &Path, packet_bytes_max: u32) -> Self {
        Self::start_as(kind, pki, packet_bytes_max, false)
    }

    /// Mosquitto, with what is retained on disk, as it was up to a few messages ago.
    pub fn start_keeping(pki: &Path, packet_bytes_max: u32) -> Self {
        Self::start_as(Kind::Mosquitto, pki, packet_bytes_max, true)
    }

    fn start_as(kind: Kind, pki: &Path, packet_bytes_max: u32, keeps: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("rivulet-broker-").tempdir();
        let mut broker = Self {
            kind,
            tls_port: free_port(),
            quic_port: free_port(),
            folder: folder.expect("a temporary folder"),
            pki: pki.to_owned(),
            packet_bytes_max,
            keeps,
            process: None,
        };
        broker.run();
        broker
    }

    /// Starts it again after [`Self::kill`] or [`Self::crash`].
    pub fn run(&mut self) {
        let mut command = match self.kind {
            Kind::Mosquitto => self.mosquitto(),
            Kind::Mqtt5 => self.built("broker-mqtt5"),
            Kind::Rmqtt => self.built("broker-rmqtt"),
        };
        let log = File::options().create(true).append(true).open(self.log()).expect("our folder");
        let errors = log.try_clone().expect("a second handle of an open file");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
        self.process = Some(child);
        let port = self.tls_port;
        wait_until(&format!("{:?} on port {port}\n", self.kind), Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// kill -9, and what it has on disk goes with it.
    pub fn kill(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(self.data());
    }

    /// kill -9; what it has on disk stays.
    pub fn crash(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        // The script that starts Mosquitto waits for it in a group of their own.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        child.wait().expect("the process is our child");
    }

    /// Panics with the end of its log if it has ended.
    pub fn must_run(&mut self) {
        let ended = self.process.as_mut().map(|child| child.try_wait().expect("it is our child"));
        if let Some(Some(status)) = ended {
            panic!("{:?} ended by itself: {status}\n{}", self.kind, self.said());
        }
    }

    /// Where it is by TLS.
    pub fn tls(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.tls_port)
    }

    /// Where it is by QUIC.
    pub fn quic(&self) -> String {
        format!("quic://127.0.0.1:{}", self.quic_port)
    }

    /// What it has said last.
    pub fn said(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn built(&self, name: &str) -> Command {
        let folder = std::env::var("BROKERS").unwrap_or_else(|_| "target/interop/debug".to_owned());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
        assert!(path.is_file(), "{} is missing: `make interop` builds it", path.display());
        let mut command = Command::new(path);
        command.arg(self.pki.join("collector.pem")).arg(self.pki.join("collector.key"));
        let numbers = [self.tls_port.into(), self.quic_port.into(), self.packet_bytes_max];
        command.args(numbers.map(|number| number.to_string()));
        command
    }

    /// The sample configuration with the paths, the port and the limit of this exam.
    fn mosquitto(&self) -> Command {
        let output = script(&["fetch", "mosquitto"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/brokers");
        let read = |name: &str| fs::read_to_string(samples.join(name)).expect("a sample");
        let here = |name: &str| self.folder.path().join(name);
        let (port, bytes) = (self.tls_port.to_string(), self.packet_bytes_max.to_string());
        let mut config = read("mosquitto.conf");
        for (from, to) in [
            ("listener 8883", format!("listener {port} 127.0.0.1")),
            ("max_packet_size 1048576", format!("max_packet_size {bytes}")),
            ("/etc/mosquitto/ca.pem", self.pki.join("ca.pem").display().to_string()),
            ("/etc/mosquitto/broker.pem", self.pki.join("collector.pem").display().to_string()),
            ("/etc/mosquitto/broker.key", self.pki.join("collector.key").display().to_string()),
            ("/etc/mosquitto/rivulet.acl", here("acl").display().to_string()),
        ] {
            assert!(config.contains(from), "the sample has no `{from}`");
            config = config.replace(from, &to);
        }
        if self.keeps {
            fs::create_dir_all(self.data()).expect("our folder");
            let keeping = format!(
                "persistence true\npersistence_location {}/\n\
                 autosave_on_changes true\nautosave_interval 20",
                self.data().display()
            );
            assert!(config.contains("persistence false"), "the sample keeps nothing");
            config = config.replace("persistence false", &keeping);
        }
        // As root it would become another user, who cannot read the keys.
        config.push_str("user root\n");
        fs::write(here("acl"), read("mosquitto.acl")).expect("our folder");
        fs::write(here("conf"), config).expect("our folder");
        let mut command = Command::new(script_path());
        command.args(["tool", "mosquitto", "mosquitto", "-c"]).arg(here("conf"));
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
