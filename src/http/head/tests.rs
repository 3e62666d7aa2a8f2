//! Tests of the parser: requests that are accepted, and requests that are refused. `tests/fuzz` has random changes of both.

use super::*;

const ZINCATI: &[u8] = include_bytes!("../../../tests/data/requests/zincati");
const CHUNKED: &[u8] = include_bytes!("../../../tests/data/requests/chunked");
const CURL: &[u8] = include_bytes!("../../../tests/data/requests/curl");
const FLEETLOCKCTL: &[u8] = include_bytes!("../../../tests/data/requests/fleetlockctl");
const SIZES: Sizes = Sizes { head: 8192, body: 8192 };
const CORPUS: [&[u8]; 4] = [ZINCATI, CHUNKED, CURL, FLEETLOCKCTL];

/// Parses the bytes at once and one by one; both must have the same result.
#[track_caller]
fn read(bytes: &[u8]) -> Result<Progress, Refusal> {
    let whole = Reader::new(SIZES).push(bytes);
    let mut reader = Reader::new(SIZES);
    let mut single = Ok(Progress::More);
    for byte in bytes {
        match reader.push(&[*byte]) {
            Ok(Progress::More | Progress::Continue) => {}
            ended => {
                single = ended;
                break;
            }
        }
    }
    let waits = matches!(whole, Ok(Progress::Continue)) && single == Ok(Progress::More);
    assert!(waits || whole == single, "at once {whole:?}, one by one {single:?}");
    whole
}

#[track_caller]
fn whole(bytes: &[u8]) -> Received {
    match read(bytes) {
        Ok(Progress::Whole(request)) => request,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Returns a request with `lines`, which end with CR and LF, and `body`.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}").into_bytes()
}

#[test]
fn every_truncation_waits_for_more() {
    for request in CORPUS {
        whole(request);
        for end in 0..request.len() {
            let progress = read(&request[..end]);
            assert!(matches!(progress, Ok(Progress::More | Progress::Continue)), "{end} bytes: {progress:?}");
        }
    }
}

#[test]
fn a_request_without_a_body_is_complete_after_its_head() {
    for lines in ["", "Content-Length: 0\r\n"] {
        assert!(whole(&post(lines, "")).body.is_empty(), "{lines}");
    }
}

#[test]
fn a_request_is_rewritten_from_its_values() {
    let request = whole(CHUNKED);
    let text = String::from_utf8(request.rewritten(("Peer", "secret"))).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("{\"client_params\"") && body.ends_with("}}"), "{body}");
    assert!(head.starts_with("POST /v1/steady-state?x=y HTTP/1.1\r\nPeer: secret\r\n"), "{head}");
    assert!(head.ends_with(&format!("Connection: close\r\nContent-Length: {}", body.len())), "{head}");
    assert!(!head.contains("chunked"), "{head}");
    assert_eq!(whole(text.as_bytes()).body, request.body);
}

#[test]
fn a_client_cannot_forge_the_header_that_is_added() {
    let request = whole(&post("pEER: forged\r\nPeer:forged\r\nConnection: Upgrade\r\nUpgrade: x\r\n", ""));
    let text = String::from_utf8(request.rewritten(("Peer", "secret"))).unwrap();
    assert!(!text.contains("forged") && !text.contains("pgrade") && text.contains("Peer: secret\r\n"), "{text}");
}

#[test]
fn bytes_after_the_request_are_ignored() {
    let twice = [ZINCATI, ZINCATI].concat();
    assert_eq!(whole(&twice), whole(ZINCATI));
    assert_eq!(whole(&[CHUNKED, b"\0\xff\n"].concat()), whole(CHUNKED));
}

#[test]
fn a_body_is_awaited_with_100_continue() {
    let head = post("Content-Length: 2\r\nExpect: 100-Continue\r\n", "");
    let mut reader = Reader::new(SIZES);
    assert!(!reader.has_begun());
    assert_eq!(reader.push(&head[..1]), Ok(Progress::More));
    assert!(reader.has_begun());
    assert_eq!(reader.push(&head[1..]), Ok(Progress::Continue));
    assert_eq!(reader.push(b"{"), Ok(Progress::More));
    assert!(matches!(reader.push(b"}"), Ok(Progress::Whole(_))));
    assert!(matches!(read(&post("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}")), Ok(Progress::Whole(_))));
    assert!(matches!(read(&post("Expect: 100-continue\r\n", "")), Ok(Progress::Whole(_))), "no body, nothing to wait for");
    assert_eq!(Reader::new(SIZES).push(&post("Content-Length: 2\r\n", "")), Ok(Progress::More), "not asked for");
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let lines = [
        ("Content-Length: 2\r\nContent-Length: 2\r\n", "twice"),
        ("Content-Length: 2\r\ncontent-length: 3\r\n", "twice"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "together"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "together"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "twice"),
        ("Transfer-Encoding: chunked, identity\r\n", "only accepted transfer-encoding"),
        ("Transfer-Encoding: gzip, chunked\r\n", "only accepted transfer-encoding"),
        ("Transfer-Encoding: identity\r\n", "only accepted transfer-encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "only accepted transfer-encoding"),
        ("Transfer-Encoding:\r\n", "only accepted transfer-encoding"),
        ("Transfer-Encoding : chunked\r\n", "space before the colon"),
        ("Transfer-Encoding\t: chunked\r\n", "space before the colon"),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", "folded"),
        ("X: y\r\n\tmore\r\n", "folded"),
        ("Content-Length: 2, 2\r\n", "not a number"),
        ("Content-Length: +2\r\n", "not a number"),
        ("Content-Length: -2\r\n", "not a number"),
        ("Content-Length: 0x2\r\n", "not a number"),
        ("Content-Length: 2 2\r\n", "not a number"),
        ("Content-Length:\r\n", "not a number"),
        ("X: y\nContent-Length: 2\r\n", "CR and LF"),
        ("X: y\rContent-Length: 2\r\n", "CR and LF"),
        ("X: y\r\r\n", "CR and LF"),
        ("X: \0\r\n", "printable"),
        ("X: \u{7f}\r\n", "printable"),
        ("X\u{e9}: y\r\n", "character"),
        ("fleet-lock-protocol: tru\u{e9}\r\n", "printable"),
        ("X y: z\r\n", "character"),
        (": y\r\n", "character"),
        ("no colon\r\n", "colon"),
        ("Host: y\r\n", "twice"),
        ("Authorization: a\r\nAuthorization: b\r\n", "twice"),
        ("fleet-lock-protocol: true\r\nFleet-Lock-Protocol: no\r\n", "twice"),
        ("Expect: 200-ok\r\n", "100-continue"),
    ];
    for (lines, says) in lines {
        let refusal = read(&post(lines, "{}")).expect_err(lines);
        assert!(refusal.kind == Kind::BadRequest && refusal.message.contains(says), "{lines:?}: {refusal:?}");
    }
}

#[test]
fn a_header_value_in_other_characters_is_left_out() {
    for value in ["S\u{e3}o Paulo".as_bytes(), b"\xff", b"a\x80b"] {
        let bytes = [b"POST / HTTP/1.1\r\nHost: x\r\nCF-Region: ", value, b"\r\nContent-Length: 2\r\n\r\n{}"].concat();
        let request = whole(&bytes);
        assert_eq!((request.headers.len(), request.body.as_slice()), (2, b"{}".as_slice()), "{:?}", value.escape_ascii().to_string());
        assert!(request.rewritten(("A", "b")).is_ascii());
    }
}

#[test]
fn a_malformed_request_line_is_refused() {
    let lines = "GET /|GET / HTTP/0.9|GET / HTTP/2.0|GET / HTTP/1.10|GET / http/1.1|GET  / HTTP/1.1|GET / HTTP/1.1 | GET / HTTP/1.1|\
        GET /a b HTTP/1.1|GET\t/ HTTP/1.1|G(T / HTTP/1.1|GET ftp://x/ HTTP/1.1|GET http:///a HTTP/1.1|GET http:/a HTTP/1.1|GET x/a HTTP/1.1|GET http://user:password@x/ HTTP/1.1|CONNECT x:1 HTTP/1.1|OPTIONS * HTTP/1.1|PRI * HTTP/2.0|\
        GET /\u{e9} HTTP/1.1|\u{16}\u{3}\u{1}|\0";
    for line in lines.split('|') {
        let refusal = read(format!("{line}\r\n").as_bytes()).expect_err(line);
        assert_eq!(refusal.kind, Kind::BadRequest, "{line:?}: {refusal:?}");
    }
    assert!(read(b"\x16").unwrap_err().message.contains("TLS"));
    whole(b"GET /a?b=c&d HTTP/1.0\r\n\r\n");
}

#[test]
fn a_target_may_be_a_url_as_for_a_proxy() {
    let cases = [
        ("http://h:8080/v1/pre-reboot?a=http://b/", "/v1/pre-reboot?a=http://b/"),
        ("HTTPS://[::1]:443/a//b", "/a//b"),
        ("http://h", "/"),
        ("http://h?a=b", "/?a=b"),
        ("//h/a", "//h/a"),
        ("/http://h/a", "/http://h/a"),
    ];
    for (target, path) in cases {
        assert_eq!(whole(format!("POST {target} HTTP/1.1\r\nHost: other\r\n\r\n").as_bytes()).target, path);
    }
}

#[test]
fn http_1_1_needs_a_host() {
    for (lines, says) in
        [("", "host is missing"), ("Host: a b\r\n", "not a host"), ("Host: user@h\r\n", "not a host"), ("Host: h/x\r\n", "not a host")]
    {
        let refusal = read(format!("POST / HTTP/1.1\r\n{lines}\r\n").as_bytes()).expect_err(lines);
        assert!(refusal.kind == Kind::BadRequest && refusal.message.contains(says), "{lines:?}: {refusal:?}");
    }
    for lines in ["Host:\r\n", "host: h\r\n", "HOST: [fe80::1]:8080\r\n", "Host: a_b.example:80\r\n"] {
        whole(format!("POST / HTTP/1.1\r\n{lines}\r\n").as_bytes());
    }
    whole(b"POST / HTTP/1.0\r\n\r\n");
}

#[test]
fn a_few_empty_lines_before_a_request_are_skipped() {
    for count in 1..=EMPTY_LINES_MAX {
        let bytes = ["\r\n".repeat(count).as_bytes(), ZINCATI].concat();
        assert_eq!(whole(&bytes), whole(ZINCATI));
    }
    assert!(read("\r\n".repeat(EMPTY_LINES_MAX + 1).as_bytes()).is_err());
    assert!(read(b"\n").is_err() && read(b"\r\n\n").is_err() && read(b" \r\n").is_err());
    let mut reader = Reader::new(SIZES);
    assert_eq!((reader.push(b"\r\n"), reader.has_begun()), (Ok(Progress::More), true));
}

#[test]
fn malformed_chunks_are_refused() {
    let chunked = |body: &str| read(&post("Transfer-Encoding: Chunked\r\n", body));
    for body in ["2\r\n{}\r\n0\r\n\r\n", "1\r\n{\r\n01\r\n}\r\n00\r\n\r\n", "00000002\r\n{}\r\n0\r\n\r\n"] {
        assert!(matches!(chunked(body), Ok(Progress::Whole(request)) if request.body == b"{}"), "{body:?}");
    }
    let malformed = "\r\n|x\r\n|-2\r\n{}|+2\r\n{}|0x2\r\n{}| 2\r\n{}|2 \r\n{}|2;a=b\r\n{}|2\n{}|2\r{}|2\r\n{}0\r\n\r\n|2\r\n{}\n0|2\r\n{}\r0|\
        0\r\nX: y\r\n\r\n|0\r\n\n|000000002\r\n{}|ffffffffffffffff\r\n";
    for body in malformed.split('|') {
        assert_eq!(chunked(body).expect_err(body).kind, Kind::BadRequest, "{body:?}");
    }
    for body in ["2001\r\n", "ffffffff\r\n", &format!("2000\r\n{}\r\n1\r\n", "x".repeat(8192))] {
        assert_eq!(chunked(body).expect_err(body).kind, Kind::TooLarge, "{body:?}");
    }
    assert!(matches!(chunked(&format!("2000\r\n{}\r\n0\r\n\r\n", "x".repeat(8192))), Ok(Progress::Whole(_))));
    assert!(read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
}

#[test]
fn sizes_and_number_of_headers_are_limited() {
    let too_large = |bytes: &[u8]| assert_eq!(read(bytes).expect_err("too large").kind, Kind::TooLarge);
    too_large(&post(&format!("X: {}", "y".repeat(SIZES.head)), ""));
    too_large(format!("GET /{}", "x".repeat(SIZES.head)).as_bytes());
    let left = HEADERS_MAX - whole(&post("", "")).headers.len();
    whole(&post(&"a:\r\n".repeat(left), ""));
    too_large(&post(&"a:\r\n".repeat(left + 1), ""));
    too_large(&post(&"a: b\r\n".repeat(10_000), ""));
    too_large(&post("Content-Length: 8193\r\n", ""));
    too_large(&post("Content-Length: 1073741824\r\n", ""));
    too_large(&post(&format!("Content-Length: {}\r\n", "9".repeat(60)), ""));
    whole(&post(&format!("Content-Length: {}\r\n", SIZES.body), &"x".repeat(SIZES.body)));
    let fits = SIZES.head - post("X: \r\n", "").len();
    whole(&post(&format!("X: {}\r\n", "y".repeat(fits)), ""));
    too_large(&post(&format!("X: {}\r\n", "y".repeat(fits + 1)), ""));
}
