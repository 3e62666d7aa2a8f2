//! Bytes that are not a request, not a whole one, more than one, or one that can be read in two ways.

use std::io::{Read, Write};

use super::{REQUEST, Siege, WAYS, check};
use crate::scenarios::SOON;

#[test]
fn a_request_cut_at_any_byte_is_refused_and_of_several_the_first_is_answered() {
    for way in WAYS {
        let siege = Siege::new(way);
        assert_eq!(siege.port.exchange_and_end(b""), "");
        for end in 1..REQUEST.len() {
            let answer = siege.port.exchange_and_end(&REQUEST[..end]);
            check(&answer, 400, "bad_request");
            assert!(answer.contains("ended before it was complete"), "{end}: {answer}");
        }
        check(&siege.port.exchange_and_end(REQUEST), 404, "unknown_node");
        for count in [2, 500] {
            check(&siege.port.exchange(&REQUEST.repeat(count)), 404, "unknown_node");
        }
        siege.ends_well("cut and pipelined requests");
    }
}

#[test]
fn garbage_and_smuggled_requests_are_refused_with_the_reason() {
    for way in WAYS {
        let siege = Siege::new(way);
        garbage_and_smuggled(&siege);
        siege.ends_well("garbage and smuggled requests");
    }
}

/// Sends bytes that are no request, or two in one.
fn garbage_and_smuggled(siege: &Siege) {
    let garbage: [(&[u8], &str); 4] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "this port speaks plain HTTP"),
        (b"\xff\xfe\xfd", "printable"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "request line"),
        (b"\n\n\n\n", "CR and LF"),
    ];
    for (bytes, says) in garbage {
        let answer = siege.port.exchange_and_end(bytes);
        check(&answer, 400, "bad_request");
        assert!(answer.contains(says), "{:?}: {answer}", String::from_utf8_lossy(bytes));
    }
    let lines = "Host: x\r\nfleet-lock-protocol: true\r\nContent-Length: 4\r\nTransfer-Encoding: chunked";
    let smuggled = "POST /v1/steady-state HTTP/1.1\r\nHost: x\r\n\r\n";
    let request = format!("POST /v1/pre-reboot HTTP/1.1\r\n{lines}\r\n\r\n0\r\n\r\n{smuggled}");
    check(&siege.port.exchange_and_end(request.as_bytes()), 400, "bad_request");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    for way in WAYS {
        let siege = Siege::new(way);
        let steady = String::from_utf8(siege.steady.clone()).unwrap();
        let (head, body) = steady.split_once("\r\n\r\n").unwrap();
        let mut client = siege.port.connect();
        client.write_all(format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        check(&client.exchange(body.as_bytes()), 200, "steady_state");
        siege.ends_well("100-continue");
    }
}

#[test]
fn a_client_cannot_forge_its_address() {
    for way in WAYS {
        let siege = Siege::new(way);
        let forged = "Reboot-Manager-Peer: 0 10.9.9.9:1\r\nX-Forwarded-For: 10.9.9.9";
        let mut client = siege.port.connect();
        let request = String::from_utf8_lossy(REQUEST).replace("accept: */*", forged);
        check(&client.exchange(request.as_bytes()), 404, "unknown_node");
        siege.server.wait_for_log(&format!("pre-reboot from {}: 404", client.address()), SOON);
        assert!(!siege.server.log().join("\n").contains("10.9.9.9"));
        siege.ends_well("a forged address");
    }
}
