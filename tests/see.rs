//! What is seen of the real programs: their pages, their answer to SIGHUP, `status --watch`, and the manual.

#![allow(unreachable_pub)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::pipeline::{AGENT, Pipeline};
use harness::process::{COLLECTOR, Process, RIVULET, program, run, wait_until};
use harness::server::free_port;

/// Time enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sample() -> Pipeline {
    Pipeline::of_file(&repository("tests/run/sample.000001"))
}

/// Adds lines to the end of a configuration.
fn add(config: &Path, lines: &str) {
    let text = fs::read_to_string(config).unwrap();
    fs::write(config, text + lines).unwrap();
}

fn replace(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(config, text.replace(from, to)).unwrap();
}

/// Head and text of a page; `None` if nobody answers.
fn page(mut stream: impl Read + Write, path: &str) -> Option<(String, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), text.to_owned()))
}

fn get(port: u16, path: &str) -> Option<(String, String)> {
    page(TcpStream::connect(("127.0.0.1", port)).ok()?, path)
}

fn metrics(port: u16) -> String {
    let (head, text) = get(port, "/metrics").expect("somebody answers");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    text
}

/// The samples of a page, by name and labels, read as strictly as the format is described.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let mut family = ("", "", "");
    assert!(text.ends_with('\n'), "the last line has an end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(families.insert(name), "{name} stands in two places");
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            family = (name, "", help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!((name, ""), (family.0, family.1), "each TYPE follows its HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family.1 = kind;
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().unwrap();
            let first = name.as_bytes()[0];
            assert!(
                first.is_ascii_lowercase()
                    && name
                        .bytes()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'),
                "{line}"
            );
            let suffixes: &[&str] = match family.1 {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let fits = suffixes.iter().any(|suffix| format!("{}{suffix}", family.0) == name);
            assert!(fits, "{line} stands below {}", family.0);
            if series.len() > name.len() {
                labels(&series[name.len()..]);
            }
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    histograms(&samples);
    samples
}

/// `{name="value",…}`
fn labels(text: &str) {
    let mut rest = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).expect(text);
    loop {
        let (name, behind) = rest.split_once("=\"").expect(text);
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{text}");
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next().expect(text) {
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{text}"),
                (end, '"') => break end,
                _ => {}
            }
        };
        rest = &behind[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return assert_eq!(rest, "", "{text}"),
        }
    }
}

/// Buckets rise to what is counted in all.
fn histograms(samples: &BTreeMap<String, f64>) {
    for (series, count) in samples.iter().filter(|(series, _)| series.contains("_seconds_count")) {
        let (name, labels) = series.split_once("_count").unwrap();
        let own = labels.trim_matches(['{', '}']);
        let bucket = |series: &&String| {
            series.starts_with(&format!("{name}_bucket")) && series.contains(own)
        };
        let buckets = samples.keys().filter(bucket);
        let mut by_end: Vec<(f64, f64)> = buckets
            .map(|series| {
                let end = series.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
                (end.replace("+Inf", "inf").parse().unwrap(), samples[series])
            })
            .collect();
        by_end.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(by_end.len() > 6 && by_end.is_sorted_by(|a, b| a.1 <= b.1), "{by_end:?}");
        assert_eq!(by_end.last(), Some(&(f64::INFINITY, *count)), "{series}");
    }
}

/// All families that are served: name, type and help.
fn families(text: &str) -> BTreeSet<[String; 3]> {
    let mut lines = text.lines();
    let mut found = BTreeSet::new();
    while let Some(help) = lines.find_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = help.split_once(' ').expect("a help text");
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        found.insert([name, kind, help.strip_suffix('.').expect(help)].map(str::to_owned));
    }
    found
}

/// The same from rows such as ``| `rivulet_…{agent}` | gauge | Help |``.
fn explained(readme: &str) -> BTreeSet<[String; 3]> {
    let rows = readme.lines().filter(|line| line.starts_with("| `rivulet_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, help] = cells[..] else { panic!("{row}") };
        let name = name.trim_matches('`').split('{').next().unwrap();
        [name, kind, help].map(str::to_owned)
    })
    .collect()
}

/// All that `decode` counts in it.
fn events_of_the_sample() -> f64 {
    let sample = repository("tests/run/sample.000001");
    let output = run(RIVULET, &["decode", "--stats", sample.to_str().unwrap()]);
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let events = stats["events"].as_object().expect("events by their kind");
    events.values().map(|count| count.as_f64().expect("a number")).sum()
}

#[test]
fn agent_and_collector_show_what_they_do_and_the_readme_explains_all_of_it() {
    let mut pipeline = sample();
    let (port, socket) = (free_port(), pipeline.path("metrics.sock"));
    add(&pipeline.path("agent.toml"), &format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n"));
    add(
        &pipeline.path("collector.toml"),
        &format!("[telemetry]\nlisten = \"unix:{}\"\n", socket.display()),
    );
    let at_collector = |path: &str| page(UnixStream::connect(&socket).ok()?, path);
    pipeline.start_collector();
    pipeline.start_agent();
    wait_until("the agent's backlog is acknowledged", PATIENCE, || {
        get(port, "/metrics").is_some_and(|(_, text)| {
            let samples = samples(&text);
            samples["rivulet_agent_batches_acknowledged_total"] > 0.0
                && samples["rivulet_agent_buffer_batches"] == 0.0
                && samples["rivulet_agent_source_events_total"] >= events_of_the_sample()
        })
    });
    let own = metrics(port);
    let agent = samples(&own);
    let rows = agent["rivulet_agent_source_rows_total"];
    assert_eq!(agent["rivulet_agent_source_events_total"], events_of_the_sample(), "{own}");
    assert!(rows > 0.0 && agent["rivulet_agent_link_wire_bytes_total"] > 1000.0, "{own}");
    assert_eq!(agent["rivulet_agent_link_connected"], 1.0);
    assert!(agent["rivulet_agent_link_rtt_seconds"] > 0.0);
    let acknowledged = agent["rivulet_agent_commit_to_acknowledged_seconds_count"];
    assert!(acknowledged > 0.0, "{own}");

    wait_until("the agent told its status", PATIENCE, || {
        at_collector("/metrics").is_some_and(|(_, text)| text.contains("rivulet_agent_healthy{"))
    });
    let (_, theirs) = at_collector("/metrics").unwrap();
    let centre = samples(&theirs);
    let of = |name: &str| centre[&format!("rivulet_collector_{name}{{agent=\"{AGENT}\"}}")];
    assert_eq!(of("rows_total"), rows, "{theirs}");
    assert_eq!(of("sequence"), agent["rivulet_agent_buffer_acknowledged_sequence"]);
    assert_eq!((of("connected"), of("gaps_total"), of("duplicates_total")), (1.0, 0.0, 0.0));
    assert_eq!(of("commit_to_durable_seconds_count"), of("transactions_total"));

    // The same figures go in-band.
    let in_band: BTreeSet<_> = families(&theirs)
        .into_iter()
        .filter(|[name, ..]| name.starts_with("rivulet_agent_"))
        .collect();
    assert_eq!(in_band, families(&own));

    let readme = fs::read_to_string(repository("README.md")).unwrap();
    assert_eq!(explained(&readme), families(&theirs), "the table in the README");

    for (head, text) in [get(port, "/healthz").unwrap(), at_collector("/healthz").unwrap()] {
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}\n{text}");
        assert_eq!(text, "{\"healthy\":true,\"reasons\":[]}\n");
    }
    let status = |(_, text): (String, String)| -> serde_json::Value {
        serde_json::from_str(&text).expect("JSON")
    };
    let (edge, centre) =
        (status(get(port, "/status").unwrap()), status(at_collector("/status").unwrap()));
    assert_eq!(edge["pid"], pipeline.agent().id());
    assert_eq!(centre["agents"][0]["status"]["pid"], edge["pid"]);
    assert!(get(port, "/else").unwrap().0.starts_with("HTTP/1.1 404 "));

    assert!(pipeline.agent().terminate(PATIENCE).success());
    wait_until("nothing is said of an agent that has gone", PATIENCE, || {
        let (_, text) = at_collector("/metrics").expect("somebody answers");
        samples(&text)[&format!("rivulet_collector_connected{{agent=\"{AGENT}\"}}")] == 0.0
            && !text.contains("rivulet_agent_healthy{")
    });
    let log = fs::read_to_string(pipeline.path("collector.log")).unwrap();
    assert!(log.contains("is offline, by its last word"), "{log}");
    assert!(pipeline.collector().terminate(PATIENCE).success());
    assert!(get(port, "/status").is_none() && !socket.exists());
}

#[test]
fn ill_health_has_its_reasons() {
    let mut pipeline = Pipeline::of_file(Path::new("/nowhere/at/all.000001"));
    let port = free_port();
    add(&pipeline.path("agent.toml"), &format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n"));
    pipeline.start_agent();
    wait_until("the agent is ill", PATIENCE, || {
        get(port, "/healthz").is_some_and(|(head, text)| {
            head.starts_with("HTTP/1.1 503 ") && text.contains("stopped: /nowhere/at/all.000001")
        })
    });
    let text = metrics(port);
    assert!(samples(&text)["rivulet_agent_stopped"] == 1.0, "{text}");
}

#[test]
fn sighup_takes_over_what_it_can_and_says_what_waits() {
    let mut pipeline = sample();
    let ports = [(); 4].map(|()| free_port());
    let telemetry = |port: u16| format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n");
    let (edge, centre) = (pipeline.path("agent.toml"), pipeline.path("collector.toml"));
    add(&edge, &telemetry(ports[0]));
    add(&centre, &telemetry(ports[1]));
    pipeline.start_collector();
    pipeline.start_agent();
    let said = |pipeline: &Pipeline, words: &str| {
        let logs = ["agent.log", "collector.log"].map(|name| pipeline.path(name));
        let contains = |log: &PathBuf| fs::read_to_string(log).unwrap_or_default().contains(words);
        wait_until(words, PATIENCE, || logs.iter().any(contains));
    };
    wait_until("both answer", PATIENCE, || {
        [0, 1].iter().all(|at| get(ports[*at], "/status").is_some())
    });
    wait_until("the link stands", PATIENCE, || {
        metrics(ports[0]).contains("rivulet_agent_link_connected 1\n")
    });

    // A file that cannot be used changes nothing, and every mistake is told.
    let good = fs::read_to_string(&edge).unwrap();
    add(&edge, "colour = 5\n[log]\nlevel = \"loud\"\n");
    pipeline.agent().signal("HUP");
    said(&pipeline, "`telemetry.colour` is not a setting");
    said(&pipeline, "`log.level` is \"loud\", must be");
    said(&pipeline, "reload: all stays as it was");
    assert!(get(ports[0], "/status").is_some());
    fs::write(&edge, &good).unwrap();

    // Nor does an address that cannot be had.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    replace(&edge, &format!("127.0.0.1:{}\"\n", ports[0]), &format!("127.0.0.1:{port}\"\n"));
    pipeline.agent().signal("HUP");
    said(&pipeline, "reload: all stays as it was with telemetry.listen: ");
    assert!(get(ports[0], "/status").is_some());
    fs::write(&edge, good).unwrap();

    replace(
        &edge,
        &format!("127.0.0.1:{}\"\n", ports[0]),
        &format!("127.0.0.1:{}\"\n[log]\nlevel = \"debug\"\n[batch]\nrows_max = 7\n", ports[2]),
    );
    replace(&edge, "[uplink]\n", "[uplink]\nbytes_per_hour = \"5MB\"\n");
    pipeline.agent().signal("HUP");
    said(&pipeline, "reload: taken over: log.level, telemetry.listen, uplink.bytes_per_hour");
    said(&pipeline, "reload: waits for a restart: batch.rows_max");
    wait_until("the pages have moved", PATIENCE, || get(ports[2], "/status").is_some());
    assert!(get(ports[0], "/status").is_none());
    wait_until("the link is made again, under the budget", PATIENCE, || {
        let text = metrics(ports[2]);
        text.contains("rivulet_agent_budget_limit_bytes{period=\"hour\"} 5000000\n")
            && text.contains("rivulet_agent_link_connected 1\n")
            && text.contains("rivulet_agent_link_reconnects_total 1\n")
    });
    said(&pipeline, "the budget is another one");

    replace(&centre, &format!(":{}\"", ports[1]), &format!(":{}\"", ports[3]));
    add(&centre, "[journal]\nbytes_max = \"16MiB\"\n[log]\nformat = \"json\"\n");
    replace(&centre, "name = \"changes\"", "name = \"others\"");
    pipeline.collector().signal("HUP");
    said(&pipeline, "reload: taken over: journal.bytes_max, log.format, telemetry.listen");
    said(&pipeline, "\"room\":\"config\",\"text\":\"reload: waits for a restart: sink[0].name\"");
    wait_until("the limit counts", PATIENCE, || {
        get(ports[3], "/metrics").is_some_and(|(_, text)| {
            text.contains("rivulet_collector_journal_limit_bytes 16777216\n")
        })
    });
    assert!(pipeline.agent().terminate(PATIENCE).success(), "{}", pipeline.said());
    assert!(pipeline.collector().terminate(PATIENCE).success(), "{}", pipeline.said());
}

#[test]
fn a_second_program_on_the_same_files_is_told_the_firsts_number() {
    let mut pipeline = sample();
    pipeline.start_collector();
    pipeline.start_agent();
    let configs = [pipeline.path("agent.toml"), pipeline.path("collector.toml")];
    let second = |which: usize| {
        let (name, command) = [(RIVULET, "agent"), (COLLECTOR, "serve")][which];
        let output = run(name, &[command, "--config", configs[which].to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let status = || run(RIVULET, &["status", "--config", configs[0].to_str().unwrap()]);
    let ready = |pipeline: &Pipeline| {
        wait_until("both are at work", PATIENCE, || {
            pipeline.path("collector/journal.db").exists()
                && !status().stdout.is_empty()
                && String::from_utf8_lossy(&status().stdout).contains("link      connected")
        });
    };
    ready(&pipeline);
    let ids = [pipeline.agent().id(), pipeline.collector().id()];
    for (which, what) in [(0, "buffer.db"), (1, "journal.db")] {
        let told = second(which);
        let wanted = format!("{what} is in use by process {}\n", ids[which]);
        assert!(told.ends_with(&wanted), "{told}");
    }
    // Another buffer, but the same folder.
    let other = pipeline.path("other.toml");
    let text = fs::read_to_string(&configs[0]).unwrap();
    let elsewhere = format!("[buffer]\npath = {:?}\n", pipeline.path("other.db"));
    fs::write(&other, text.replace("[buffer]\n", &elsewhere)).unwrap();
    let output = run(RIVULET, &["agent", "--config", other.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let wanted = format!("another agent runs here, process {}\n", ids[0]);
    assert!(told.ends_with(&wanted), "{told}");

    // What a killed one leaves behind stops nobody.
    pipeline.agent().kill();
    pipeline.collector().kill();
    assert!(
        pipeline.path("agent/agent.sock").exists()
            && pipeline.path("agent/buffer.db.lock").exists()
    );
    pipeline.start_collector();
    pipeline.start_agent();
    ready(&pipeline);
    let told = second(0);
    assert!(told.ends_with(&format!("process {}\n", pipeline.agent().id())), "{told}");
}

#[test]
fn an_agent_is_watched_line_by_line_and_on_a_terminal_that_is_left_well() {
    let mut pipeline = sample();
    pipeline.start_collector();
    pipeline.start_agent();
    let (config, log) = (pipeline.path("agent.toml"), pipeline.path("watch.log"));
    let config = config.to_str().unwrap();
    let watch = ["status", "--config", config, "--watch"];
    let mut lines = Process::start(RIVULET, &watch, &log);
    wait_until("some lines", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.matches("edge-1 healthy: ").count() >= 3 && text.contains(" rows/s, lag ")
    });
    assert!(!fs::read_to_string(&log).unwrap().contains('\x1b'));
    lines.signal("INT");
    wait_until("the end", PATIENCE, || lines.ended().is_some_and(|status| status.success()));

    // `script` gives it a terminal of its own.
    let shown = pipeline.path("shown");
    let words = format!("{} {}", program(RIVULET).display(), watch.join(" "));
    let mut terminal = Command::new("timeout")
        .args(["--signal=INT", "--foreground", "3", "script", "-qfec", &words])
        .arg(&shown)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("script(1) of util-linux");
    wait_until("two pictures", PATIENCE, || {
        let text = fs::read_to_string(&shown).unwrap_or_default();
        text.matches("\x1b[H").count() >= 2
    });
    // Ctrl-C, as the terminal's own line discipline takes it.
    terminal.stdin.as_mut().unwrap().write_all(&[3]).unwrap();
    wait_until("the end", PATIENCE, || terminal.try_wait().unwrap().is_some());
    let text = fs::read_to_string(&shown).unwrap();
    let (_, end) =
        text.rsplit_once("\x1b[?7h\x1b[?25h\x1b[?1049l").expect("the terminal is given back");
    assert!(end.contains("edge-1  rivulet ") && !end.contains('\x1b'), "{end}");
}

#[test]
fn the_manual_says_what_the_help_says() {
    for name in [RIVULET, COLLECTOR] {
        let help = String::from_utf8(run(name, &["--help"]).stdout).unwrap();
        let output = Command::new(repository("cross/man.sh"))
            .arg(name)
            .env("DATE", "2026-11-22")
            .output()
            .expect("cross/man.sh can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let roff = String::from_utf8(output.stdout).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let title = format!(
            ".TH \"{}\" \"1\" \"2026-11-22\" \"Rivulet {version}\" \"Rivulet\"\n",
            name.to_uppercase()
        );
        assert!(roff.starts_with(&title), "{roff}");
        let (_, body) = roff.split_once(".SH DESCRIPTION\n").unwrap();
        let mut text = String::new();
        for line in body.lines() {
            let line = match line.strip_prefix('.') {
                Some(request) => match request.strip_prefix("SH ") {
                    Some(title) => title,
                    None => {
                        assert!(["TP", "nf", "fi"].contains(&request), "{line}");
                        continue;
                    }
                },
                None => line,
            };
            let plain = line.replace("\\fB", "").replace("\\fR", "").replace("\\&", "");
            let plain = plain.replace("\\-", "-").replace("\\[u2026]", "…").replace("\\e", "\\");
            text.push_str(&plain);
            text.push('\n');
        }
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&text), words(&help), "{name}");
    }
}
