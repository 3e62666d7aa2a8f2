//! The port that nodes call, under attack, one file a kind of attack. While it goes on and after it a well-behaved
//! client gets its right answer, memory stays small, and threads and descriptors come back to what they were.

mod held;
mod oversized;
mod scarce;
mod secured;
mod shapes;
mod slow;
mod stopping;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use test_cluster::wait::wait_for;
use test_cluster::{Scene, Server};

use crate::scenarios::{Machine, SOON, binary, machines, scene};

/// Peak resident memory that no attack may push the program over.
const RSS_KIB_MAX: u64 = 32 * 1024;

/// How long the servers here wait for a request, so that the tests need not wait longer.
const REQUEST_MAX: Duration = Duration::from_secs(3);

/// What Zincati sends, with an id that no node has.
const REQUEST: &[u8] = include_bytes!("../../data/requests/zincati");

/// A server, one well-behaved node, and how the process looked before the attack.
struct Siege {
    _scene: Scene,
    node: Machine,
    server: Server,
    threads: usize,
    descriptors: usize,
}

impl Siege {
    fn new() -> Self {
        Self::with(|start| start)
    }

    fn with(change: impl FnOnce(test_cluster::server::Start) -> test_cluster::server::Start) -> Self {
        let scene = scene();
        let [node] = machines(&scene);
        let start = scene.server(&binary()).arg("--request-timeout").arg(&format!("{}s", REQUEST_MAX.as_secs()));
        let server = change(start).start();
        let mut siege = Self { _scene: scene, node, server, threads: 0, descriptors: 0 };
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

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// A node's call is answered as if nothing were the matter.
    #[track_caller]
    fn well_behaved(&self) {
        self.node.agent(&self.server).steady_state().expect(200, "steady_state");
    }

    /// It is over, and everything is as before.
    #[track_caller]
    fn ends_well(self, attack: &str) {
        self.well_behaved();
        assert_eq!(self.server.page("/healthz").0, 200);
        wait_for("threads and descriptors come back", SOON, || {
            let (threads, descriptors) = (self.server.threads(), self.server.descriptors());
            let back = threads <= self.threads && descriptors <= self.descriptors;
            let before = (self.threads, self.descriptors);
            if back { Ok(()) } else { Err(format!("{threads} threads, {descriptors} descriptors, before {before:?}")) }
        });
        let rss = self.server.peak_rss_kib();
        println!("{attack}: peak RSS {rss} KiB, {} threads and {} descriptors at rest", self.threads, self.descriptors);
        assert!(rss < RSS_KIB_MAX, "{attack}: peak RSS {rss} KiB");
    }
}

/// Everything that comes back until the server ends the connection, however it does.
fn rest(mut stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server does not end the connection"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// Sends `bytes` and nothing more; what comes back.
fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may end the connection before it has taken all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    rest(&stream)
}

/// One answer of ours, and the last of its connection.
#[track_caller]
fn check(answer: &str, status: u16, kind: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "wanted {status} {kind}: {answer:?}");
    assert_eq!(answer.matches("\r\nConnection: close\r\n").count(), 1, "{answer:?}");
    assert!(answer.contains(&format!("\"kind\":\"{kind}\"")), "wanted {kind}: {answer:?}");
}
