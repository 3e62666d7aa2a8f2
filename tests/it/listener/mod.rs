//! The port that nodes call, under attack, one file a kind of attack, over plain HTTP and over TLS. While it goes on and
//! after it a well-behaved client gets its right answer, memory stays small, and threads and descriptors come back to
//! what they were.

mod client;
mod held;
mod hung_up;
mod oversized;
mod scarce;
mod secured;
mod shapes;
mod slow;
mod stopping;
mod workers;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use test_cluster::certificate::self_signed;
use test_cluster::server::Start;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use crate::scenarios::{SOON, binary, cluster, machines};
use client::{Port, check, exchange, rest};

/// Peak resident memory that no attack may push the program over.
const RSS_KIB_MAX: u64 = 32 * 1024;

/// The same for a build without optimisation, which uses more of each thread's stack.
const RSS_KIB_MAX_DEBUG: u64 = 64 * 1024;

/// How long the servers here wait for a request, so that the tests need not wait longer.
const REQUEST_MAX: Duration = Duration::from_secs(3);

/// What Zincati sends, with an id that no node has.
const REQUEST: &[u8] = include_bytes!("../../data/requests/zincati");

/// How often the well-behaved client calls while an attack goes on.
const CALLS_EVERY: Duration = Duration::from_millis(100);

/// How the port is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
}

/// Every attack on what lies behind TLS is made on both.
const WAYS: [Way; 2] = [Way::Plain, Way::Tls];

/// A server, one well-behaved node, and how the process looked before the attack.
struct Siege {
    cluster: TestCluster,
    /// The id of the well-behaved node, `n1`.
    id: String,
    way: Way,
    port: Port,
    server: Server,
    steady: Vec<u8>,
    threads: usize,
    descriptors: usize,
    neighbour: Option<Neighbour>,
}

/// A client that calls again and again while an attack goes on.
struct Neighbour {
    over: Arc<AtomicBool>,
    calls: JoinHandle<()>,
}

impl Siege {
    /// A port to be attacked, and a neighbour who must not notice.
    fn new(way: Way) -> Self {
        Self::new_with(way, REQUEST_MAX)
    }

    /// The same, where a request may take longer.
    fn new_with(way: Way, request_max: Duration) -> Self {
        let mut siege = Self::with(way, request_max, |start| start);
        siege.neighbour = Some(Neighbour::of(siege.port.clone(), siege.steady.clone()));
        siege
    }

    /// The same without a neighbour, for attacks that leave room for few, and with other flags.
    fn with(way: Way, request_max: Duration, change: impl FnOnce(Start) -> Start) -> Self {
        let cluster = cluster();
        let [node] = machines(&cluster);
        let start = cluster.server(&binary()).arg("--request-timeout").arg(&format!("{}s", request_max.as_secs()));
        let (start, trusted) = match way {
            Way::Plain => (start, None),
            Way::Tls => {
                let made = self_signed();
                let [certificate, key] = [("tls.crt", &made.pem), ("tls.key", &made.key_pem)].map(|(name, pem)| {
                    let path = cluster.folder().join(name);
                    std::fs::write(&path, pem).unwrap();
                    path.display().to_string()
                });
                let files = ["--tls=files", "--tls-cert", &certificate, "--tls-key", &key];
                (files.iter().fold(start, |start, word| start.arg(word)), Some(made.pem))
            }
        };
        let server = change(start).start();
        let steady = node.agent(&server).request("steady-state");
        let port = Port::new(&server.address, trusted.as_deref());
        let mut siege = Self { cluster, id: node.id.clone(), way, port, server, steady, threads: 0, descriptors: 0, neighbour: None };
        siege.well_behaved();
        siege.well_behaved();
        assert_eq!(siege.server.page("/healthz").0, 200);
        wait_for("nobody is connected", SOON, || {
            let (threads, descriptors) = (siege.server.threads(), siege.server.descriptors());
            let rests = (siege.threads, siege.descriptors) == (threads, descriptors);
            (siege.threads, siege.descriptors) = (threads, descriptors);
            std::thread::sleep(Duration::from_millis(1200));
            if rests { Ok(()) } else { Err(format!("{threads} threads, {descriptors} descriptors")) }
        });
        siege
    }

    fn address(&self) -> &str {
        &self.server.address
    }

    /// A bare connection, on which nothing was said, not even a handshake.
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// A node's call is answered as if nothing were the matter.
    #[track_caller]
    fn well_behaved(&self) {
        check(&self.port.exchange(&self.steady), 200, "steady_state");
    }

    /// It is over, and everything is as before.
    #[track_caller]
    fn ends_well(mut self, attack: &str) {
        if let Some(neighbour) = self.neighbour.take() {
            neighbour.ends();
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
        let limit = if std::env::var_os("REBOOT_MANAGER_BINARY").is_some() { RSS_KIB_MAX } else { RSS_KIB_MAX_DEBUG };
        assert!(rss < limit, "{attack}: peak RSS {rss} KiB");
    }
}

impl Neighbour {
    fn of(port: Port, request: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let calls = std::thread::spawn(move || {
            loop {
                check(&port.exchange(&request), 200, "steady_state");
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::sleep(CALLS_EVERY);
            }
        });
        Self { over, calls }
    }

    /// Fails when one of its calls was not answered rightly.
    #[track_caller]
    fn ends(self) {
        self.over.store(true, Ordering::SeqCst);
        self.calls.join().unwrap();
    }
}
