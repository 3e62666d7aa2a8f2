//! Bytes that are no request, not a whole one, more than one, or one that could be read in two ways.

use std::io::{Read, Write};

use super::{REQUEST, Siege, WAYS, Way, check, exchange, rest};

#[test]
fn a_request_cut_at_any_byte_is_refused() {
    for way in WAYS {
        let siege = Siege::new(way);
        assert_eq!(siege.port.exchange_and_end(b""), "");
        for end in 1..REQUEST.len() {
            let answer = siege.port.exchange_and_end(&REQUEST[..end]);
            check(&answer, 400, "bad_request");
            assert!(answer.contains("ended before it was complete"), "{end}: {answer}");
        }
        check(&siege.port.exchange_and_end(REQUEST), 404, "unknown_node");
        siege.ends_well("requests cut at every byte");
    }
}

#[test]
fn of_pipelined_requests_the_first_is_answered() {
    for way in WAYS {
        let siege = Siege::new(way);
        check(&siege.port.exchange(&REQUEST.repeat(2)), 404, "unknown_node");
        check(&siege.port.exchange(&REQUEST.repeat(500)), 404, "unknown_node");
        siege.ends_well("pipelined requests");
    }
}

#[test]
fn garbage_is_refused_with_its_reason() {
    let siege = Siege::new(Way::Plain);
    let client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let cases: [(&[u8], &str); 10] = [
        (client_hello, "this port speaks plain HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1"),
        (b"GET /\r\n", "request line"),
        (b"\0\0\0\0", "printable"),
        (b"\xff\xfe\xfd", "printable"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "request line"),
        (b"\n\n\n\n", "CR and LF"),
        (b"\r\n\r\n", "request line"),
        (b"{\"client_params\": {}}\r\n", "request line"),
        (b"POST /v1/pre-reboot HTTP/1.1\n", "CR and LF"),
    ];
    for (bytes, says) in cases {
        let answer = exchange(siege.address(), bytes);
        check(&answer, 400, "bad_request");
        assert!(answer.contains(says), "{:?}: {answer}", String::from_utf8_lossy(bytes));
    }
    siege.ends_well("garbage");
}

#[test]
fn nothing_is_smuggled_past_the_listener() {
    let siege = Siege::new(Way::Plain);
    let inner = "POST /v1/steady-state HTTP/1.1\r\nHost: x\r\n\r\n";
    let lines = [
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4,4\r\n",
    ];
    for lines in lines {
        let request = format!("POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\n{lines}\r\n0\r\n\r\n{inner}");
        check(&exchange(siege.address(), request.as_bytes()), 400, "bad_request");
    }
    siege.ends_well("smuggling");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let siege = Siege::new(Way::Plain);
    let steady = String::from_utf8(siege.steady.clone()).unwrap();
    let (head, body) = steady.split_once("\r\n\r\n").unwrap();
    let mut stream = siege.connect();
    stream.write_all(format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    check(&rest(&stream), 200, "steady_state");
    siege.ends_well("100-continue");
}

#[test]
fn the_handler_sees_the_real_address_whatever_the_client_says() {
    let siege = Siege::new(Way::Plain);
    let text = String::from_utf8_lossy(REQUEST).replace("accept: */*", "Reboot-Manager-Peer: 0 10.9.9.9:1\r\nX-Forwarded-For: 10.9.9.9");
    let stream = siege.connect();
    let own = stream.local_addr().unwrap();
    (&stream).write_all(text.as_bytes()).unwrap();
    check(&rest(&stream), 404, "unknown_node");
    siege.server.wait_for_log(&format!("pre-reboot from {own}: 404"), crate::scenarios::SOON);
    assert!(!siege.server.log().join("\n").contains("10.9.9.9"));
    siege.ends_well("a forged address");
}
