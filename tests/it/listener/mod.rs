//! Attacks on the port that nodes call, one file each, over plain HTTP and over TLS. During and after each attack a
//! well-behaved client must get the right answer, memory must stay small, and threads and descriptors must return to their
//! former number.

mod client;
mod crowd;
mod distrust;
mod held;
mod hung_up;
mod ops;
mod oversized;
mod process;
mod scarce;
mod secured;
mod shapes;
mod slow;
mod stopping;
mod workers;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use test_cluster::certificate::self_signed;
use test_cluster::server::Start;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use rustls::ClientConfig;

use crate::scenarios::{Machine, SOON, binary, cluster_of, write};
use client::{Client, Port, check, client_config};

/// Maximum peak of resident memory, also during an attack.
const RSS_KIB_MAX: u64 = 32 * 1024;

/// Maximum for a build without optimisation, which uses more of each stack.
const RSS_KIB_MAX_DEBUG: u64 = 64 * 1024;

/// Request of Zincati, with an id that no node has.
const REQUEST: &[u8] = include_bytes!("../../data/requests/zincati");

/// Address of clients that attack. All of 127.0.0.0/8 is this machine.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Time between two calls of the well-behaved client.
const CALLS_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
}

/// Every attack is made on both, except those on TLS itself and on the ops port, which has no TLS.
const WAYS: [Way; 2] = [Way::Plain, Way::Tls];

/// Certificate of the servers of a cluster; without TLS none.
struct Identity {
    flags: Vec<String>,
    /// Configuration of a client that trusts the certificate.
    client: Option<Arc<ClientConfig>>,
    pem: Vec<u8>,
}

/// A server under attack, one well-behaved node, and the state of the process before the attack.
struct Siege {
    cluster: TestCluster,
    /// `n1`, which is the well-behaved node, and `n2`.
    nodes: [Machine; 2],
    way: Way,
    port: Port,
    /// PEM of the certificate, with TLS.
    pem: Vec<u8>,
    server: Server,
    steady: Vec<u8>,
    threads: usize,
    descriptors: usize,
    /// A well-behaved client that calls during the attack, until the flag is set.
    neighbour: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Identity {
    fn new(cluster: &TestCluster, way: Way) -> Self {
        if way == Way::Plain {
            return Self { flags: Vec::new(), client: None, pem: Vec::new() };
        }
        let made = self_signed();
        let files = [("tls-cert", &made.pem), ("tls-key", &made.key_pem)];
        let files = files.map(|(flag, text)| format!("--{flag}={}", write(cluster, flag, text)));
        let client = client_config(made.pem.as_bytes(), rustls::DEFAULT_VERSIONS);
        Self { flags: [&["--tls=files".to_owned()][..], &files].concat(), client: Some(client), pem: made.pem.into_bytes() }
    }

    /// Adds the flags of the certificate.
    fn of(&self, start: Start) -> Start {
        self.flags.iter().fold(start, |start, flag| start.arg(flag))
    }
}

impl Siege {
    /// Starts a server and a neighbour.
    fn new(way: Way) -> Self {
        Self::alone(way, |start| start).with_neighbour()
    }

    /// Starts a server with other flags and no neighbour, for attacks that leave few connections.
    fn alone(way: Way, change: impl FnOnce(Start) -> Start) -> Self {
        let (cluster, nodes) = cluster_of();
        let identity = Identity::new(&cluster, way);
        let server = change(identity.of(cluster.server(&binary()))).start();
        let steady = nodes[0].agent(&server).request("steady-state");
        let port = Port::new(&server.address, identity.client);
        let mut siege = Self { cluster, nodes, way, port, pem: identity.pem, server, steady, threads: 0, descriptors: 0, neighbour: None };
        siege.well_behaved();
        siege.well_behaved();
        assert_eq!(siege.server.page("/healthz").0, 200);
        wait_for("threads and descriptors do not change", SOON, || {
            let before = (siege.threads, siege.descriptors);
            (siege.threads, siege.descriptors) = (siege.server.threads(), siege.server.descriptors());
            std::thread::sleep(Duration::from_millis(1200));
            if before == (siege.threads, siege.descriptors) { Ok(()) } else { Err(format!("{before:?}")) }
        });
        siege
    }

    fn with_neighbour(mut self) -> Self {
        let (port, request, over) = (self.port.clone(), self.steady.clone(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&over);
        let calls = std::thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                check(&port.exchange(&request), 200, "steady_state");
                std::thread::sleep(CALLS_EVERY);
            }
        });
        self.neighbour = Some((over, calls));
        self
    }

    fn address(&self) -> &str {
        &self.server.address
    }

    /// Checks that a node's call is answered.
    #[track_caller]
    fn well_behaved(&self) {
        check(&self.port.exchange(&self.steady), 200, "steady_state");
    }

    /// Checks, after the attack, that the process is as before.
    #[track_caller]
    fn ends_well(mut self, attack: &str) {
        if let Some((over, calls)) = self.neighbour.take() {
            over.store(true, Ordering::SeqCst);
            calls.join().unwrap();
        }
        self.well_behaved();
        assert_eq!(self.server.page("/healthz").0, 200);
        wait_for("threads and descriptors come back", SOON, || {
            let (threads, descriptors) = (self.server.threads(), self.server.descriptors());
            let back = threads <= self.threads && descriptors <= self.descriptors;
            let before = (self.threads, self.descriptors);
            if back { Ok(()) } else { Err(format!("{threads} threads, {descriptors} descriptors, before {before:?}")) }
        });
        let rss = self.server.peak_rss_kib();
        println!("{attack} ({:?}): peak RSS {rss} KiB, {} threads and {} descriptors at rest", self.way, self.threads, self.descriptors);
        let limit = if is_built_with_tests(&self.server) { RSS_KIB_MAX_DEBUG } else { RSS_KIB_MAX };
        assert!(rss < limit, "{attack}: peak RSS {rss} KiB");
    }
}

/// Reports whether this is the program that was built with the tests, also if a script started it.
fn is_built_with_tests(server: &Server) -> bool {
    let program = std::fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap();
    std::fs::canonicalize(env!("CARGO_BIN_EXE_reboot-manager")).is_ok_and(|built| built == program)
}

/// Ends the loops of other threads when it is dropped, also after a failed check.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Opens `count` connections that send nothing.
fn silent(port: &Port, count: usize) -> Vec<Client> {
    (0..count).map(|_| port.connect_bare()).collect()
}
