//! The port with TLS, where that is not as without.

use std::io::{Read, Write};

use rustls::version::{TLS12, TLS13};

use super::client::{Port, client_config};
use super::{Siege, Way, check};

#[test]
fn requests_are_answered_over_tls_1_2_and_1_3() {
    let siege = Siege::new(Way::Tls);
    std::thread::scope(|scope| {
        for version in [&TLS12, &TLS13].repeat(8) {
            let port = Port::new(siege.address(), Some(client_config(&siege.pem, &[version])));
            let steady = &siege.steady;
            scope.spawn(move || {
                for _ in 0..4 {
                    let (mut client, mut answer) = (port.connect(), String::new());
                    client.write_all(steady).unwrap();
                    client.read_to_string(&mut answer).expect("the end is announced (close_notify)");
                    check(&answer, 200, "steady_state");
                }
            });
        }
    });
    siege.ends_well("both versions of TLS");
}

#[test]
fn plain_http_and_garbage_are_answered_that_the_port_speaks_tls() {
    let siege = Siege::alone(Way::Tls, |start| start);
    for bytes in [&b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\0\0\0", b"SSH-2.0-x\r\n"] {
        let answer = siege.port.connect_bare().exchange(bytes);
        check(&answer, 400, "bad_request");
        assert!(answer.contains("this port speaks TLS"), "{answer}");
    }
    let garbled = siege.port.connect_bare().exchange(b"\x16\x03\x01\x00\x05hello");
    assert!(!garbled.contains("HTTP"), "an alert at most: {garbled:?}");
    siege.ends_well("no TLS");
}
