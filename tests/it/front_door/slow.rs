//! Clients that dawdle.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{REQUEST, REQUEST_MAX, Siege, check, rest};
use crate::scenarios::SOON;

#[test]
fn two_thousand_connections_that_send_nothing_are_in_nobodys_way() {
    let siege = Siege::new();
    let mut silent = Vec::new();
    for number in 0..2000 {
        silent.push(siege.connect());
        if number % 250 == 249 {
            siege.well_behaved();
        }
    }
    assert_eq!(rest(&silent[0]), "", "the oldest went first");
    siege.well_behaved();
    check(&rest(&silent[1999]), 400, "bad_request");
    let (_, page) = siege.server.page("/metrics");
    assert!(page.contains("connections_lost_total{reason=\"evicted\"}"), "{page}");
    drop(silent);
    siege.ends_well("2,000 silent connections");
}

#[test]
fn a_byte_a_second_does_not_buy_time() {
    let siege = Siege::new();
    let begun = Instant::now();
    let clients: Vec<TcpStream> = (0..500).map(|_| siege.connect()).collect();
    for byte in &REQUEST[..6] {
        for mut client in &clients {
            // Its connection may be over already.
            let _ = client.write_all(&[*byte]);
        }
        siege.well_behaved();
        std::thread::sleep(Duration::from_secs(1));
    }
    let answers: Vec<String> = clients.iter().map(rest).collect();
    assert!(begun.elapsed() < REQUEST_MAX + SOON, "{:?}", begun.elapsed());
    let told = answers.iter().filter(|answer| answer.contains("was not complete after 3 s")).count();
    // A byte that arrives after the end takes the answer away; most clients had it before.
    assert!(told > 0 && answers.iter().all(|answer| !answer.contains(" 200 ")), "{told} of 500 were told");
    drop(clients);
    siege.ends_well("500 clients with a byte a second");
}

#[test]
fn a_client_that_never_reads_its_answer_holds_nothing() {
    let siege = Siege::new();
    let clients: Vec<TcpStream> = (0..200).map(|_| siege.connect()).collect();
    for mut client in &clients {
        client.write_all(REQUEST).unwrap();
    }
    // They stay connected and unread while everything else comes back to rest.
    siege.ends_well("200 clients that never read");
    for client in &clients {
        let answer = rest(client);
        // So many strangers at once can also be too many to look up.
        if !answer.contains("\"contended\"") {
            check(&answer, 404, "unknown_node");
        }
    }
}
