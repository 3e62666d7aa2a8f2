//! The listener beside tiny_http alone, in one run on one machine: requests a second, each on a connection of its own, plain
//! and over TLS, and how long a TLS handshake takes. The clients run in this process, too, and are in every figure.
//!
//! ```text
//! cargo bench --bench listener
//! ```

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "it measures time, and ends when something is not as expected")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reboot_manager::http::{Listener, ListenerLimits, Sizes};
use reboot_manager::metrics::Metrics;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use test_cluster::certificate::self_signed;
use tiny_http::{Response, Server};

/// Clients at once.
const CLIENTS: usize = 8;

/// How long each way is measured, and how often, in turn.
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

/// Handshakes whose time is taken, one after the other.
const HANDSHAKES: usize = 300;

const REQUEST: &[u8] = include_bytes!("../tests/data/requests/zincati");
const ANSWER: &str = r#"{"kind":"steady_state","value":"node n1 is in service"}"#;

/// One way to an answer.
struct Way {
    name: &'static str,
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

fn main() {
    let certificate = self_signed();
    let limits = ListenerLimits { connections: 512, request: Duration::from_secs(10), sizes: Sizes::default(), workers: 8 };
    let open = |tls| {
        let answer =
            |mut request: tiny_http::Request, _peer| answered(&mut request).map_or((), |response| request.respond(response).unwrap());
        Listener::open("bench", "127.0.0.1:0".parse().unwrap(), limits, tls, Arc::new(Metrics::new()), answer).unwrap()
    };
    let (plain, secured) = (open(None), open(Some(Arc::clone(&certificate.config))));
    let ways = [
        Way { name: "tiny_http alone", address: alone(), tls: None },
        Way { name: "the listener, plain HTTP", address: plain.address().to_string(), tls: None },
        Way {
            name: "the listener, TLS 1.3, a full handshake each",
            address: secured.address().to_string(),
            tls: Some(trusting(&certificate.pem)),
        },
    ];
    println!("| requests a second, {CLIENTS} clients | {} |\n|---|{}", ["round"; ROUNDS].join(" | "), "--:|".repeat(ROUNDS));
    let mut rates = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(format!("{:.0}", way.rate()));
        }
    }
    for (way, rates) in ways.iter().zip(&rates) {
        println!("| {} | {} |", way.name, rates.join(" | "));
    }
    let mut times: Vec<Duration> = (0..HANDSHAKES).map(|_| ways[2].handshake()).collect();
    times.sort();
    let at = |share: usize| times[HANDSHAKES * share / 100].as_secs_f64() * 1000.0;
    println!("\nhandshake, connection included: median {:.2} ms, 99 of 100 within {:.2} ms", at(50), at(99));
    std::process::exit(0);
}

impl Way {
    /// Answers in a second.
    fn rate(&self) -> f64 {
        let (begun, count) = (Instant::now(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while begun.elapsed() < ROUND {
                        self.ask();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        count.into_inner() as f64 / begun.elapsed().as_secs_f64()
    }

    fn ask(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        match &self.tls {
            None => exchange(&mut stream),
            Some(config) => exchange(&mut secured(stream, config)),
        }
    }

    fn handshake(&self) -> Duration {
        let begun = Instant::now();
        let mut stream = secured(TcpStream::connect(&self.address).unwrap(), self.tls.as_ref().unwrap());
        stream.conn.complete_io(&mut stream.sock).unwrap();
        let took = begun.elapsed();
        exchange(&mut stream);
        took
    }
}

fn exchange(stream: &mut (impl Read + Write)) {
    stream.write_all(REQUEST).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 1024]);
    while !received.ends_with(ANSWER.as_bytes()) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
}

/// Reads the body, as the program does.
fn answered(request: &mut tiny_http::Request) -> Option<Response<std::io::Cursor<Vec<u8>>>> {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).ok()?;
    Some(Response::from_string(ANSWER))
}

/// tiny_http on a port of its own, with as many workers as the listener has.
fn alone() -> String {
    let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
    for _ in 0..8 {
        let server = Arc::clone(&server);
        std::thread::spawn(move || {
            for mut request in server.incoming_requests() {
                if let Some(response) = answered(&mut request) {
                    let _ = request.respond(response);
                }
            }
        });
    }
    server.server_addr().to_string()
}

/// No tickets: a node's agent that calls every five minutes makes a full handshake.
fn trusting(pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn secured(stream: TcpStream, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}
