//! The subcommand `serve`: finds Kubernetes, starts the threads and the two ports, and stops in order. The caller prints the error.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use log::{info, warn};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::VerifySource;
use crate::certificate::Served;
use crate::cli::{self, Serve, Switch, Tls};
use crate::coordinator::{Coordinator, Limits, Readiness};
use crate::http::{AuthFile, Listener, ListenerLimits, Ops, Routes, Sizes, connection_limits};
use crate::kube::{self, Client, Kube, Location, Observation};
use crate::lock::{Capacity, Times};
use crate::logging;
use crate::metrics::Metrics;
use crate::reboot::Rules;
use crate::settings::Settings;
use crate::system::{clock, process};

// Number of requests that are decided at the same time. Held requests do not occupy a worker.
const WORKERS: usize = 8;

// Nodes behind one address may use nearly all connections, and leave some to others.
const SHARE: usize = 8;

// Time to answer the open requests after SIGTERM.
const STOPPING_MAX: Duration = Duration::from_secs(5);

// Time between two checks for a signal while there is no certificate yet.
const SIGNALS_EVERY: Duration = Duration::from_millis(250);

// Status with which Kubernetes reports a missing permission.
const FORBIDDEN: u16 = 403;

/// Runs until SIGTERM or SIGINT.
pub fn serve(flags: &Serve) -> anyhow::Result<()> {
    logging::start(flags.log_format);
    process::set_limits();
    warn_of_unread_variables();
    let settings = Settings::new(flags)?;
    // From here on a signal is kept until it is read, so the program also ends in order while it starts.
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals cannot be received")?;
    let location = Location::find(&settings.connect)?;
    let namespace = settings.namespace(location.namespace());
    info!("reboot-manager {}: {}, lease {namespace}/{}", env!("CARGO_PKG_VERSION"), location.describe(), kube::LEASE);
    let metrics = Arc::new(Metrics::default());
    let auth_file = flags.auth_file.clone().map(|path| AuthFile::open(path, Arc::clone(&metrics))).transpose()?;
    warn_of_open_access(flags);
    warn_of_bootstrap(flags, &location);
    let readiness = Arc::new(Readiness::default());
    let client =
        Client::connect(&location, observer(&metrics, &readiness)).with_context(|| format!("cannot use {}", location.describe()))?;
    let rules = Rules {
        capacity: Capacity { slots: usize::from(flags.slots) },
        protect_control_plane: flags.protect_control_plane == Switch::On,
        times: times(flags),
        replica: settings.replica,
        ours: settings.ours,
    };
    let limits = Limits {
        pre_reboot_wait: flags.pre_reboot_wait,
        rules,
        verify_source: flags.verify_source,
        workers: WORKERS,
        slot_waits: usize::from(slot_waits(flags)),
    };
    let kube = Arc::new(Kube::new(client, namespace, settings.tls.service().map(str::to_owned)));
    let certificate = settings.tls.start(Arc::clone(&kube), Arc::clone(&metrics))?;
    let tls = certificate.as_ref().map(Served::config).transpose().context("TLS cannot be set up")?;
    let coordinator = Arc::new(Coordinator::start(kube, limits, Arc::clone(&metrics), readiness).context("no thread can be started")?);
    let (connections, ops_connections) = connection_limits(usize::from(flags.max_connections));
    // Open before the certificate exists, so that probes see a live process that is not ready.
    let ops = Ops::new(Arc::clone(&coordinator), Arc::clone(&metrics), notes(certificate.clone()));
    let ops_listener =
        ops.listen(flags.ops_listen, ops_connections).with_context(|| format!("cannot listen on {} (--ops-listen)", flags.ops_listen))?;
    info!("ops: listening on {}", ops_listener.address());
    if let Some(certificate) = &certificate
        && let Some(signal) = wait(certificate, &mut signals)
    {
        info!("signal {signal}: stopping");
        coordinator.stop();
        return Ok(());
    }
    let limits = listener_limits(flags, connections);
    let routes =
        Routes { coordinator: Arc::clone(&coordinator), metrics, base: flags.base_path.clone(), auth_file, answers: Arc::default() };
    let listener = routes.listen(flags.listen, limits, tls).with_context(|| format!("cannot listen on {} (--listen)", flags.listen))?;
    ops.fleetlock_listens();
    info!("fleetlock: listening on {}, --slots {}", listener.address(), flags.slots);
    if let Some(signal) = signals.forever().next() {
        info!("signal {signal}: stopping");
    }
    stop(&coordinator, &listener);
    Ok(())
}

fn listener_limits(flags: &Serve, connections: usize) -> ListenerLimits {
    let sizes = Sizes { head: flags.max_head_bytes as usize, body: flags.max_body_bytes as usize };
    ListenerLimits { connections, share: SHARE, request: flags.request_timeout, sizes, workers: WORKERS }
}

/// Returns an observer that counts each call to Kubernetes and notices missing permissions.
fn observer(metrics: &Arc<Metrics>, readiness: &Arc<Readiness>) -> Arc<dyn Fn(&Observation) + Send + Sync> {
    let (metrics, readiness) = (Arc::clone(metrics), Arc::clone(readiness));
    Arc::new(move |call| {
        metrics.call(call);
        // A refused review must not cause the next review.
        if call.code == Some(FORBIDDEN) && call.resource != kube::REVIEWS {
            readiness.call_was_refused();
        }
    })
}

fn times(flags: &Serve) -> Times {
    Times {
        silent: flags.release_silent_after,
        stalled: flags.give_up_after,
        not_ready: flags.give_up_not_ready_after,
        no_check_in: flags.release_rebooted_after,
        missing: flags.release_deleted_after,
        not_rebooted: flags.withdraw_after,
        back_off: flags.back_off,
    }
}

/// Returns the number of requests that may wait for a slot. Half of the connections are left to requests that are decided at once.
fn slot_waits(flags: &Serve) -> u16 {
    let Serve { max_waiting, max_connections, .. } = flags;
    let most = max_connections / 2;
    if *max_waiting > most {
        warn!(
            "at most {most} requests wait for a slot, half of --max-connections (REBOOT_MANAGER_MAX_CONNECTIONS), although --max-waiting (REBOOT_MANAGER_MAX_WAITING) is {max_waiting}; set --max-waiting to {most}, or --max-connections to twice as many as may wait"
        );
    }
    most.min(*max_waiting)
}

fn warn_of_unread_variables() {
    let names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    cli::unread(&names).iter().for_each(|warning| warn!("{warning}"));
}

fn warn_of_open_access(flags: &Serve) {
    match (&flags.auth_file, flags.verify_source) {
        (None, VerifySource::Enforce) => {
            info!("no credentials (--auth-file): anyone who can reach the port from the address of a node can drain that node");
        }
        (None, VerifySource::Log | VerifySource::Off) => {
            warn!("no credentials (--auth-file): any pod that can reach the port can drain any node");
        }
        (Some(_), _) if flags.tls == Tls::Off => {
            warn!("--auth-file without TLS: anyone who can read the network traffic between nodes and this server can read the passwords");
        }
        (Some(_), _) => {}
    }
}

fn warn_of_bootstrap(flags: &Serve, location: &Location) {
    if flags.tls == Tls::Bootstrap && location.namespace().is_none() {
        let service = &flags.service_name;
        warn!(
            "--tls bootstrap outside the cluster: its certificate is for the addresses of Service {service}, which lead to pods and not to this process; use --tls files or off"
        );
    }
}

/// Returns a function that lists what a person must know of the certificate, one line each.
fn notes(certificate: Option<Arc<Served>>) -> impl Fn() -> String {
    move || certificate.iter().flat_map(|certificate| certificate.notes()).map(|note| format!("certificate: {note}\n")).collect()
}

/// Waits until there is a certificate; returns the signal that arrives before.
fn wait(certificate: &Served, signals: &mut Signals) -> Option<i32> {
    while !certificate.wait(SIGNALS_EVERY) {
        if let Some(signal) = signals.pending().next() {
            return Some(signal);
        }
    }
    None
}

/// Closes the port, answers the held requests, and waits until the other requests are answered.
fn stop(coordinator: &Coordinator, listener: &Listener) {
    // New requests go to another replica before this one refuses those that it holds.
    listener.close();
    coordinator.stop();
    let deadline = clock::now().instant + STOPPING_MAX;
    while !listener.is_idle() && !clock::left(deadline).is_zero() {
        clock::sleep(Duration::from_millis(20));
    }
}
