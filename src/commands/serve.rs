//! `serve`: finds Kubernetes, starts the threads and the two ports, and stops in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use log::{info, warn};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Serve;
use crate::coordinator::{Coordinator, Limits};
use crate::http::{DoorLimits, FleetLock, Ops, own_share};
use crate::kube::{self, Client, Kube, Location};
use crate::metrics::Metrics;
use crate::reboot::Rules;
use crate::settings::Settings;

/// Requests that are being decided at once. Held requests occupy none of them.
const WORKERS: usize = 8;

/// How long requests that are being answered may take once the process is asked to stop.
const STOPPING_MAX: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub fn serve(flags: &Serve) -> anyhow::Result<()> {
    let settings = Settings::new(flags);
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals cannot be received")?;
    let location = Location::find(&settings.given).context("no Kubernetes API to work with")?;
    let namespace = settings.namespace(location.namespace());
    info!("reboot-manager {}: {}, lease {namespace}/{}", env!("CARGO_PKG_VERSION"), location.describe(), kube::LEASE);
    let metrics = Arc::new(Metrics::new());
    let observer = Arc::clone(&metrics);
    let client = Client::connect(&location, kube::Limits::default(), Arc::new(move |seen: &_| observer.call(seen)))?;
    let rules = Rules { slots: settings.slots, ours: settings.ours.clone() };
    let limits = Limits { pre_reboot_wait: settings.pre_reboot_wait, rules, workers: WORKERS };
    let coordinator = Coordinator::new(Arc::new(Kube::new(client, namespace)), limits, Arc::clone(&metrics));
    coordinator.start().context("no thread can be started")?;
    let (connections, ops_connections) = own_share(settings.max_connections);
    let ops = Ops::start(settings.ops_listen, ops_connections, Arc::clone(&coordinator), Arc::clone(&metrics))
        .with_context(|| format!("cannot listen on {} (--ops-listen)", settings.ops_listen))?;
    info!("ops: listening on {}", ops.address());
    let limits = DoorLimits { connections, request: settings.request_timeout, workers: WORKERS };
    let fleetlock = FleetLock::start(settings.listen, limits, None, &settings.base_path, Arc::clone(&coordinator), metrics)
        .with_context(|| format!("cannot listen on {} (--listen)", settings.listen))?;
    info!("fleetlock: listening on {}, {} slots", fleetlock.address(), settings.slots);
    if let Err(missing) = coordinator.ready() {
        missing.lines().for_each(|line| warn!("not ready: {line}"));
    }
    if let Some(signal) = signals.forever().next() {
        info!("signal {signal}: stopping");
    }
    stop(&coordinator, &fleetlock);
    Ok(())
}

/// Accepts no further connection, answers the requests that are held, and gives the others a moment.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock and waits")]
fn stop(coordinator: &Coordinator, fleetlock: &FleetLock) {
    fleetlock.stop();
    coordinator.stop();
    let begun = Instant::now();
    while !fleetlock.is_idle() && begun.elapsed() < STOPPING_MAX {
        std::thread::sleep(Duration::from_millis(20));
    }
}
