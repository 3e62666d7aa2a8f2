//! Clients that dawdle.

use std::io::Write;
use std::time::{Duration, Instant};

use super::client::Client;
use super::{REQUEST, Siege, WAYS, Way, check, rest};
use crate::scenarios::SOON;

/// How long the server waits for those that send a byte a second.
const DAWDLERS_REQUEST_MAX: Duration = Duration::from_secs(10);

/// How long it waits for those that send nothing: longer than it takes to connect 2,000.
const SILENT_REQUEST_MAX: Duration = Duration::from_secs(10);

#[test]
fn two_thousand_silent_connections_keep_no_node_from_its_answer() {
    for way in WAYS {
        let siege = Siege::new_with(way, SILENT_REQUEST_MAX);
        let mut silent = Vec::new();
        for number in 0..2000 {
            silent.push(siege.connect());
            if number % 250 == 249 {
                siege.well_behaved();
            }
        }
        assert_eq!(rest(&silent[0]), "", "the oldest went first");
        siege.well_behaved();
        match way {
            Way::Plain => check(&rest(&silent[1999]), 400, "bad_request"),
            Way::Tls => assert_eq!(rest(&silent[1999]), "", "nothing can be said before the handshake"),
        }
        let (_, page) = siege.server.page("/metrics");
        assert!(page.contains("connections_lost_total{reason=\"evicted\"}"), "{page}");
        drop(silent);
        siege.ends_well("2,000 silent connections");
    }
}

#[test]
fn a_byte_a_second_does_not_buy_time() {
    for way in WAYS {
        // So many handshakes take their time.
        let siege = Siege::new_with(way, DAWDLERS_REQUEST_MAX);
        let begun = Instant::now();
        let mut clients: Vec<Client> = (0..500).map(|_| siege.port.connect()).collect();
        let connected = begun.elapsed();
        for byte in &REQUEST[..DAWDLERS_REQUEST_MAX.as_secs() as usize + 2] {
            for client in &mut clients {
                // Its connection may be over already.
                let _ = client.write_all(&[*byte]);
            }
            siege.well_behaved();
            std::thread::sleep(Duration::from_secs(1));
        }
        let answers: Vec<String> = clients.iter_mut().map(Client::rest).collect();
        assert!(begun.elapsed() < connected + DAWDLERS_REQUEST_MAX + SOON, "{:?}", begun.elapsed());
        let reported = answers.iter().filter(|answer| answer.contains("was not complete after 10 s")).count();
        // A byte that arrives after the end takes the answer away; most clients had it before.
        assert!(reported > 0 && answers.iter().all(|answer| !answer.contains(" 200 ")), "{reported} were told the reason");
        drop(clients);
        siege.ends_well("500 clients with a byte a second");
    }
}

#[test]
fn a_client_that_never_reads_its_answer_holds_nothing() {
    for way in WAYS {
        let siege = Siege::new(way);
        let mut clients: Vec<Client> = (0..200)
            .map(|_| {
                let mut client = siege.port.connect();
                client.write_all(REQUEST).unwrap();
                client
            })
            .collect();
        // They stay connected and unread while everything else comes back to rest.
        siege.ends_well("200 clients that never read");
        for client in &mut clients {
            let answer = client.rest();
            // So many strangers at once can also be too many to look up.
            if !answer.contains("\"contended\"") {
                check(&answer, 404, "unknown_node");
            }
        }
    }
}

#[test]
fn handshakes_that_stop_half_way_keep_no_node_from_its_answer() {
    let siege = Siege::new(Way::Tls);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut stopped = Vec::new();
    for number in 0..600 {
        let mut stream = siege.connect();
        // The oldest may have been closed.
        let _ = stream.write_all(&hello[..1 + number % hello.len()]);
        stopped.push(stream);
        // Whoever has as many newcomers behind them as there are places, all within their own handshake, has to go.
        if number % 200 == 199 {
            siege.well_behaved();
        }
    }
    for stream in &stopped {
        assert!(!rest(stream).contains("HTTP"), "nothing can be said before the handshake");
    }
    drop(stopped);
    siege.ends_well("600 handshakes that stop half-way");
}
