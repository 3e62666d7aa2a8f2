//! Hundreds of clients of one address that connect again and again. A neighbour, which is any other address, must lose no call.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use test_cluster::wait::wait_for;

use super::{ATTACKER, End, Port, REQUEST, Siege, WAYS};
use crate::scenarios::SOON;

const ATTACKERS: usize = 600;

/// Places of the port: few, so that all are always taken.
const PLACES: usize = 64;

/// Calls of the neighbour, of which some are made at the same time.
const CALLS: usize = 100;
const AT_ONCE: usize = 20;

/// Longest time for which an attacker keeps a connection, so that all end soon after the neighbour's last call.
const PATIENCE: Duration = Duration::from_millis(500);

/// Pause in each call of the neighbour.
const BETWEEN_PARTS: Duration = Duration::from_millis(500);

/// Suffices for a handshake as a client.
const STACK_BYTES: usize = 256 * 1024;

/// Attacks once; the connection is closed at the end.
fn attack(port: &Port, number: usize, request: &[u8]) {
    let half = &request[..request.len() / 2];
    let connected = if number.is_multiple_of(5) { port.try_connect_bare() } else { port.try_connect() };
    let Ok(mut client) = connected else { return std::thread::sleep(Duration::from_millis(1)) };
    client.give_up_after(PATIENCE);
    let _ = match number % 5 {
        // Sends nothing and waits for the end.
        0 => client.read(&mut [0]).map(drop),
        // Sends half a request and waits for the end.
        1 => client.write_all(half).and_then(|()| client.read(&mut [0]).map(drop)),
        // Sends half a request and hangs up.
        2 => client.write_all(half),
        // Sends a request and hangs up.
        3 => client.write_all(request),
        // Sends a request and reads the answer.
        _ => client.write_all(request).and_then(|()| client.read_to_end(&mut Vec::new()).map(drop)),
    };
}

/// Runs `work` while the crowd attacks. Returns the number of attacks, and what `work` returns.
fn beside<T>(port: &Port, request: &[u8], work: impl FnOnce() -> T) -> (usize, T) {
    let (over, attacks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = std::thread::scope(|scope| {
        let (over, attacks) = (&over, &attacks);
        let _end = End(over);
        for number in 0..ATTACKERS {
            let attacker = move || {
                while !over.load(Ordering::SeqCst) {
                    attack(port, number, request);
                    attacks.fetch_add(1, Ordering::SeqCst);
                }
            };
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, attacker).unwrap();
        }
        wait_for("the crowd attacks", SOON, || {
            let count = attacks.load(Ordering::SeqCst);
            if count > ATTACKERS { Ok(()) } else { Err(count) }
        });
        work()
    });
    (attacks.into_inner(), result)
}

/// Calls in two parts, as over a slow network, so that hundreds of connections come meanwhile.
fn call_slowly(siege: &Siege) -> io::Result<String> {
    let mut client = siege.port.try_connect()?;
    let (first, rest) = siege.steady.split_at(siege.steady.len() / 2);
    client.write_all(first)?;
    std::thread::sleep(BETWEEN_PARTS);
    Ok(client.exchange(rest))
}

/// Returns the times of the neighbour's calls, and the answers that are not right.
fn calls(siege: &Siege) -> (Vec<Duration>, Vec<String>) {
    let call = || {
        let begun = Instant::now();
        let answer = call_slowly(siege).unwrap_or_else(|error| error.to_string());
        (begun.elapsed(), answer)
    };
    let (mut times, mut wrong) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let neighbours: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| (0..CALLS / AT_ONCE).map(|_| call()).collect::<Vec<_>>())).collect();
        for (time, answer) in neighbours.into_iter().flat_map(|neighbour| neighbour.join().unwrap()) {
            times.push(time);
            wrong.extend(Some(answer).filter(|answer| !answer.starts_with("HTTP/1.1 200 ")));
        }
    });
    times.sort();
    (times, wrong)
}

#[test]
fn six_hundred_clients_of_one_address_lose_a_neighbour_no_call() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start.arg(&format!("--max-connections={PLACES}")));
        let (attacks, (times, wrong)) = beside(&siege.port.from(ATTACKER), REQUEST, || calls(&siege));
        println!("{way:?}: {attacks} attacks, a call takes {:?}, at most {:?}", times[CALLS / 2], times[CALLS - 1]);
        let (_, page) = siege.server.page("/metrics");
        assert!(page.contains("connections_lost_total{reason=\"evicted\"}"), "the places are not all taken: {page}");
        assert!(wrong.is_empty(), "{way:?}: {} of {CALLS} calls are lost: {:?}", wrong.len(), wrong[0]);
        siege.ends_well("600 clients of one address in a loop");
    }
}
