//! A fleet at one real collector: what an idle agent costs there, and how soon all are back after it was
//! killed. Every agent has its own certificate, its own socket and a real session; all are in this process.
//!
//! `AGENTS=1000` takes so many.

#![allow(unreachable_pub)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::fleet::{Caller, Centre, PATIENCE};
use harness::process::wait_until;
use rivulet::transport::{ClientTls, Dialer, EndpointAddress, QuicSettings, Scheme};
use rivulet::uplink::Backoff;

/// What all agents tell.
#[derive(Default)]
struct Fleet {
    /// How many are in and have delivered a batch since.
    here: AtomicUsize,
    /// How often one came in.
    entered: AtomicUsize,
}

#[test]
fn a_fleet_is_served_and_comes_back_after_the_collector_was_killed() {
    let count: usize = std::env::var("AGENTS").map_or(50, |text| text.parse().expect("a number"));
    let mut centre = Centre::start(&format!("connections_max = {count}\n"));
    let (before, _) = centre.process().memory_kib().expect("it runs");
    let fleet = Arc::<Fleet>::default();
    let keys: Vec<_> = (0..count).map(|nth| format!("edge-{nth}")).collect();
    let keys: Vec<_> = keys.into_iter().map(|name| (centre.keys(&name), name)).collect();
    let began = Instant::now();
    let agents: Vec<_> = keys
        .into_iter()
        .map(|(keys, name)| {
            smol::spawn(live(fleet.clone(), centre.endpoint(Scheme::Quic), keys, name))
        })
        .collect();
    wait_until("all agents", 3 * PATIENCE, || fleet.here.load(Ordering::Relaxed) == count);
    println!("{count} agents: all in, with a batch each, after {:.1?}", began.elapsed());
    sleep(Duration::from_secs(6));
    assert_eq!(fleet.here.load(Ordering::Relaxed), count, "they stay\n{}", centre.process().said());
    let (idle, most) = centre.process().memory_kib().expect("it runs");
    let each = idle.saturating_sub(before) as f64 / count as f64;
    println!(
        "the collector: {before} KiB alone, {idle} KiB with all idle, at most {most}: {each:.1} KiB each"
    );
    assert!(each < KIB_EACH_MAX || count < 100, "{each} KiB for an idle agent");

    let entered = fleet.entered.load(Ordering::Relaxed);
    centre.process().kill();
    let killed = Instant::now();
    centre.start_again();
    wait_until("all agents to come back", 3 * PATIENCE, || {
        centre.process().must_run();
        fleet.entered.load(Ordering::Relaxed) >= entered + count
            && fleet.here.load(Ordering::Relaxed) == count
    });
    println!(
        "killed and started again: all back, with a batch each, after {:.1?}",
        killed.elapsed()
    );
    let (_, most) = centre.process().memory_kib().expect("it runs");
    println!("the collector: at most {most} KiB in the storm");
    drop(agents);
    assert!(centre.process().terminate(PATIENCE).success());
}

/// An agent's life: in, a batch, silence; and again when the connection is lost.
async fn live(fleet: Arc<Fleet>, endpoint: EndpointAddress, keys: ClientTls, name: String) {
    let mut dialer = Dialer::default();
    let mut backoff =
        Backoff::new(Duration::from_millis(200), Duration::from_secs(30), fastrand::u64(..));
    loop {
        if let Ok(mut caller) = enter(&mut dialer, &endpoint, &keys, &name).await {
            fleet.entered.fetch_add(1, Ordering::Relaxed);
            fleet.here.fetch_add(1, Ordering::Relaxed);
            backoff.reset();
            while caller.event_within(Duration::MAX).await.is_ok() {}
            fleet.here.fetch_sub(1, Ordering::Relaxed);
        }
        smol::Timer::after(backoff.next_wait()).await;
    }
}

async fn enter(
    dialer: &mut Dialer,
    endpoint: &EndpointAddress,
    keys: &ClientTls,
    name: &str,
) -> Result<Caller, String> {
    let settings = QuicSettings::default();
    let connection = dialer.connect(endpoint, keys, &settings, DIAL_MAX).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let mut caller = Caller::enter(connection, name).await?;
    caller.deliver().await?;
    Ok(caller)
}

/// A machine that runs a whole fleet is slow.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// An idle agent costs a connection's state and its session tickets.
const KIB_EACH_MAX: f64 = 150.0;
