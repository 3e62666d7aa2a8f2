//! Clients that send or read slowly, or not at all.

use std::io::Write;
use std::time::{Duration, Instant};

use super::client::Client;
use super::{REQUEST, Siege, WAYS, Way, check, silent};
use crate::scenarios::SOON;

/// Time for a request to arrive, if no flag says otherwise.
const REQUEST_MAX: Duration = Duration::from_secs(10);

#[test]
fn a_node_is_answered_beside_two_thousand_silent_connections() {
    for way in WAYS {
        let siege = Siege::new(way);
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.extend(silent(&siege.port, 250));
            siege.well_behaved();
        }
        assert_eq!(clients[0].rest(), "", "the oldest is closed first");
        siege.well_behaved();
        match way {
            Way::Plain => check(&clients[1999].rest(), 400, "bad_request"),
            Way::Tls => assert_eq!(clients[1999].rest(), "", "no answer is possible before the handshake"),
        }
        let (_, page) = siege.server.page("/metrics");
        assert!(page.contains("connections_lost_total{reason=\"evicted\"}"), "{page}");
        drop(clients);
        siege.ends_well("2,000 silent connections");
    }
}

#[test]
fn one_byte_a_second_does_not_extend_the_deadline() {
    for way in WAYS {
        let siege = Siege::new(way);
        let begun = Instant::now();
        let mut clients: Vec<Client> = (0..500).map(|_| siege.port.connect()).collect();
        let connected = begun.elapsed();
        for byte in &REQUEST[..REQUEST_MAX.as_secs() as usize + 2] {
            for client in &mut clients {
                // The server may have closed the connection already.
                let _ = client.write_all(&[*byte]);
            }
            siege.well_behaved();
            std::thread::sleep(Duration::from_secs(1));
        }
        let answers: Vec<String> = clients.iter_mut().map(Client::rest).collect();
        assert!(begun.elapsed() < connected + REQUEST_MAX + SOON, "{:?}", begun.elapsed());
        let with_reason = answers.iter().filter(|answer| answer.contains("was not complete after 10 s")).count();
        // A byte that arrives after the end destroys the answer, but most clients have received it before.
        assert!(with_reason > 0 && answers.iter().all(|answer| !answer.contains(" 200 ")), "{with_reason} got the reason");
        drop(clients);
        siege.ends_well("500 clients with a byte a second");
    }
}

#[test]
fn a_client_that_never_reads_its_answer_holds_nothing() {
    for way in WAYS {
        let siege = Siege::new(way);
        let mut clients: Vec<Client> = (0..200).map(|_| siege.port.connect()).collect();
        for client in &mut clients {
            client.write_all(REQUEST).unwrap();
        }
        // The clients stay connected and do not read while threads and descriptors come back.
        siege.ends_well("200 clients that never read");
        for client in &mut clients {
            let answer = client.rest();
            // Too many unknown ids at once are not all looked up.
            if !answer.contains("\"contended\"") {
                check(&answer, 404, "unknown_node");
            }
        }
    }
}

#[test]
fn a_node_is_answered_beside_handshakes_that_stop_at_any_byte() {
    let siege = Siege::new(Way::Tls);
    let hello = siege.port.client_hello();
    let mut clients = Vec::new();
    for number in 0..600 {
        let mut client = siege.port.connect_bare();
        // The server may have closed the connection already.
        let _ = client.write_all(&hello[..1 + number % hello.len()]);
        clients.push(client);
        if number % 200 == 199 {
            siege.well_behaved();
        }
    }
    for client in &mut clients {
        assert!(!client.rest().contains("HTTP"), "no answer is possible before the handshake");
    }
    drop(clients);
    siege.ends_well("600 handshakes that stop at any byte");
}
