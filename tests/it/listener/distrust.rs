//! Clients with which no TLS connection comes about: each is counted by its reason, and the log has one line a minute for each reason.

use std::io::Write;
use std::process::Command;

use rustls::version::{TLS12, TLS13};
use test_cluster::certificate::{Authority, self_signed};
use test_cluster::wait::wait_for;

use super::client::{Port, client_config};
use super::{Siege, Way};
use crate::scenarios::SOON;

/// Failures of clients that repeat their calls.
const REPEATED: usize = 50;

fn start() -> Siege {
    Siege::alone(Way::Tls, |start| start)
}

/// Returns the number of failures with this reason, and of all.
fn failures(siege: &Siege, reason: &str) -> (usize, usize) {
    let (_, page) = siege.server.page("/metrics");
    let counters = page.lines().filter_map(|line| line.strip_prefix("reboot_manager_tls_failures_total{reason=\"")?.split_once("\"} "));
    let counters: Vec<(String, usize)> = counters.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).collect();
    let of = |reason: &str| counters.iter().filter(|(other, _)| other == reason).map(|(_, count)| count).sum();
    (of(reason), counters.iter().map(|(_, count)| count).sum())
}

/// Waits until this number of failures is counted, all for this reason; returns the only line of the log.
#[track_caller]
fn are_counted(siege: &Siege, reason: &str, count: usize) -> String {
    wait_for(&format!("{count} failures are counted as {reason}"), SOON, || match failures(siege, reason) {
        (seen, all) if (seen, all) == (count, count) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let logged: Vec<String> = siege.server.log().into_iter().filter(|line| line.contains("WARN  TLS with ")).collect();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains(&format!(" failed ({reason}): ")), "{logged:?}");
    logged[0].clone()
}

#[test]
fn clients_that_do_not_trust_the_certificate_are_counted_and_reported_once() {
    for version in [&TLS12, &TLS13] {
        let siege = start();
        // Another name, and the same name with another key.
        for pem in [Authority::new().pem(), self_signed().pem] {
            let port = Port::new(siege.address(), Some(client_config(pem.as_bytes(), &[version])));
            for _ in 0..REPEATED / 2 {
                assert!(port.try_connect().is_err(), "the certificate is not that of another authority");
            }
        }
        let line = are_counted(&siege, "unknown_ca", REPEATED);
        assert!(line.contains("TLS with 127.0.0.1:") && line.contains("install the CA") && line.contains("docs/tls.md"), "{line}");
        siege.ends_well("clients that trust another CA");
    }
}

#[test]
fn curl_without_the_ca_is_counted() {
    for most in ["1.2", "1.3"] {
        let siege = start();
        let url = format!("https://{}/v1/steady-state", siege.address());
        let ended =
            Command::new("curl").args(["--silent", "--max-time", "60", "--tls-max", most, &url]).status().expect("curl is installed");
        // The exit code of curl for a certificate that cannot be verified.
        assert_eq!(ended.code(), Some(60));
        are_counted(&siege, "unknown_ca", 1);
    }
}

#[test]
fn each_other_failure_has_its_reason_and_a_probe_of_a_load_balancer_is_none() {
    // A version and a cipher of 1999, and no extension.
    let old = [&[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let siege = start();
    let hello = siege.port.client_hello();
    let cut = &hello[..hello.len() / 2];
    drop(siege);
    let cases: [(&str, &[u8], bool); 7] = [
        ("plain_http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ("not_tls", b"\0\0\0", false),
        ("not_tls", b"\x16\x03\x01\x00\x05hello", false),
        // The end of a handshake that has not begun.
        ("not_tls", b"\x16\x03\x01\x00\x04\x14\x00\x00\x00", false),
        ("no_shared_parameters", &old, false),
        ("closed", cut, true),
        ("timed_out", cut, false),
    ];
    for (reason, bytes, ends) in cases {
        let siege = start();
        for _ in 0..3 {
            drop(siege.port.connect_bare());
        }
        let mut client = siege.port.connect_bare();
        client.write_all(bytes).unwrap();
        if ends {
            client.end();
        }
        client.rest();
        are_counted(&siege, reason, 1);
        // The library has warnings of its own, for each connection.
        assert!(siege.server.log().iter().all(|line| !line.contains("while expecting")), "{}", siege.server.log().join("\n"));
    }
}

/// A client of TLS 1.3 may refuse the certificate when for the server the handshake is complete.
#[test]
fn a_failure_of_tls_after_the_handshake_is_counted() {
    for version in [&TLS12, &TLS13] {
        let siege = start();
        let port = Port::new(siege.address(), Some(client_config(&siege.pem, &[version])));
        let mut client = port.connect();
        // An alert that is not encrypted.
        client.write_bare(&[0x15, 3, 3, 0, 2, 2, 48]).unwrap();
        client.rest();
        wait_for("the failure is counted", SOON, || match failures(&siege, "other") {
            (_, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}
