//! A port with TLS, as a library: any `rustls::ServerConfig` will do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use reboot_manager::http::{Listener, ListenerLimits, Sizes};
use reboot_manager::metrics::Metrics;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};
use test_cluster::certificate::{SelfSigned, self_signed};
use test_cluster::wait::wait_for;
use tiny_http::Response;

use super::client::{client_config, handshaken};
use super::{check, exchange, rest};
use crate::scenarios::SOON;

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

/// A port with TLS that says who called and what for.
struct Secured {
    listener: Listener,
    address: String,
    certificate: SelfSigned,
}

impl Secured {
    fn open(connections: usize) -> Self {
        let certificate = self_signed();
        let limits = ListenerLimits { connections, request: Duration::from_secs(2), sizes: Sizes::default(), workers: 2 };
        let config = Some(Arc::clone(&certificate.config));
        let handle = |request: tiny_http::Request, client: reboot_manager::http::Client| {
            let text = format!("{} from {}", request.url(), client.peer);
            request.respond(Response::from_string(text)).unwrap();
        };
        let listener =
            Listener::open("test", "127.0.0.1:0".parse().unwrap(), limits, config, Arc::new(Metrics::default()), handle).unwrap();
        let address = listener.address().to_string();
        Self { listener, address, certificate }
    }

    fn connect(&self, version: &'static SupportedProtocolVersion) -> StreamOwned<ClientConnection, TcpStream> {
        handshaken(TcpStream::connect(&self.address).unwrap(), client_config(&self.certificate.pem, &[version]))
    }

    #[track_caller]
    fn well_behaved(&self, version: &'static SupportedProtocolVersion) {
        let mut stream = self.connect(version);
        stream.write_all(GET).unwrap();
        let mut answer = String::new();
        // It is an error when the end is not announced (close_notify).
        stream.read_to_string(&mut answer).unwrap();
        let own = stream.sock.local_addr().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("/hello from {own}")), "{answer}");
    }

    #[track_caller]
    fn becomes_idle(&self) {
        wait_for("no connection is open", SOON, || if self.listener.is_idle() { Ok(()) } else { Err("one is open") });
    }
}

#[test]
fn requests_are_answered_over_both_versions_of_tls() {
    let secured = Secured::open(64);
    std::thread::scope(|scope| {
        for version in [&TLS12, &TLS13] {
            for _ in 0..8 {
                scope.spawn(|| (0..4).for_each(|_| secured.well_behaved(version)));
            }
        }
    });
    secured.becomes_idle();
}

#[test]
fn a_handshake_that_stops_anywhere_ends_with_the_deadline() {
    let secured = Secured::open(512);
    let mut hello = Vec::new();
    let mut client = secured.connect(&TLS13);
    client.conn.write_tls(&mut hello).unwrap();
    let stopped: Vec<TcpStream> = (0..hello.len())
        .map(|end| {
            let mut stream = TcpStream::connect(&secured.address).unwrap();
            stream.write_all(&hello[..end]).unwrap();
            stream
        })
        .collect();
    secured.well_behaved(&TLS13);
    for stream in &stopped {
        rest(stream);
    }
    drop((stopped, client));
    secured.well_behaved(&TLS12);
    secured.becomes_idle();
}

#[test]
fn silent_connections_make_room() {
    let secured = Secured::open(16);
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&secured.address).unwrap()).collect();
    secured.well_behaved(&TLS13);
    for stream in &silent {
        assert_eq!(rest(stream), "", "nothing can be said before the handshake");
    }
    drop(silent);
    secured.becomes_idle();
}

#[test]
fn plain_http_and_garbage_are_answered_that_the_port_speaks_tls() {
    let secured = Secured::open(16);
    for bytes in [GET, b"\0\0\0", b"SSH-2.0-x\r\n"] {
        let answer = exchange(&secured.address, bytes);
        check(&answer, 400, "bad_request");
        assert!(answer.contains("this port speaks TLS"), "{answer}");
    }
    let garbled = exchange(&secured.address, b"\x16\x03\x01\x00\x05hello");
    assert!(!garbled.contains("HTTP"), "an alert at most: {garbled:?}");
    secured.well_behaved(&TLS13);
    secured.becomes_idle();
}

#[test]
fn a_listener_on_all_addresses_can_be_closed() {
    let limits = ListenerLimits { connections: 4, request: Duration::from_secs(2), sizes: Sizes::default(), workers: 1 };
    for any in ["[::]:0", "0.0.0.0:0"] {
        let listener =
            Listener::open("test", any.parse().unwrap(), limits, None, Arc::new(Metrics::default()), |_request, _peer| ()).unwrap();
        let address = ("127.0.0.1", listener.address().port());
        drop(TcpStream::connect(address).unwrap());
        listener.close();
        wait_for("no connection is accepted", SOON, || match TcpStream::connect(address) {
            Ok(_) => Err("the port is open"),
            Err(_) => Ok(()),
        });
    }
}

#[test]
fn a_closed_listener_serves_the_open_connections() {
    let secured = Secured::open(16);
    let mut inside = secured.connect(&TLS13);
    inside.conn.complete_io(&mut inside.sock).unwrap();
    secured.listener.close();
    wait_for("no connection is accepted", SOON, || match TcpStream::connect(&secured.address) {
        Ok(_) => Err("the port is open"),
        Err(_) => Ok(()),
    });
    inside.write_all(GET).unwrap();
    let mut answer = String::new();
    inside.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("/hello from"), "{answer}");
    drop(inside);
    secured.becomes_idle();
}
