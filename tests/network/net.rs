//! Two network namespaces, and between them a link that does what it is told.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The centre's address, and the edge's two.
pub const CENTRE: &str = "10.77.1.1";
pub const EDGES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// Dropping it removes the namespaces, and with them the devices.
pub struct Net {
    /// The names of the edge's and of the centre's namespace.
    pub names: [String; 2],
    relay: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Net {
    /// Panics with what this machine lacks: namespaces need root.
    pub fn new(seed: u64) -> Self {
        let pid = std::process::id();
        let names = ["e", "c"].map(|end| format!("rivulet-{end}{pid}"));
        let devices = ["e", "c"].map(|end| format!("rv{end}{pid}"));
        for name in &names {
            ip(&["netns", "add", name]);
        }
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/network/release/network-relay");
        let mut relay = Command::new(&path)
            .args([&devices[0], &devices[1], &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (`make network` builds it)", path.display())
            });
        let orders = relay.stdin.take().expect("it is piped");
        let answers = BufReader::new(relay.stdout.take().expect("it is piped"));
        let mut net = Self { names, relay, orders, answers };
        assert_eq!(net.answer(), "ready", "no TUN device: root and /dev/net/tun are needed");
        for ((name, device), address) in net.names.iter().zip(&devices).zip([EDGES[0], CENTRE]) {
            ip(&["link", "set", device, "netns", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "addr", "add", address, "dev", device]);
            ip(&["-n", name, "link", "set", device, "up"]);
            ip(&["-n", name, "route", "add", "default", "dev", device]);
        }
        net
    }

    /// What the link does from now on: see the relay.
    pub fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("the relay runs");
        assert_eq!(self.answer(), "ok", "{line}");
    }

    /// The edge's address becomes another one, as if its router had dialled in anew.
    pub fn move_edge(&self, from: &str, to: &str) {
        let (name, device) = (&self.names[0], format!("rve{}", std::process::id()));
        ip(&["-n", name, "addr", "add", to, "dev", &device]);
        ip(&["-n", name, "addr", "del", from, "dev", &device]);
        ip(&["-n", name, "route", "replace", "default", "dev", &device]);
    }

    /// How many packets have left the edge, once this process of it is in its namespace.
    pub fn sent_by(process: u32) -> Option<u64> {
        let table = std::fs::read_to_string(format!("/proc/{process}/net/dev")).ok()?;
        let device = format!("rve{}:", std::process::id());
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&device))?;
        line.split_whitespace().nth(9)?.parse().ok()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the relay answers");
        line.trim().to_owned()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.relay.kill();
        let _ = self.relay.wait();
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("ip (package iproute2): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
}
