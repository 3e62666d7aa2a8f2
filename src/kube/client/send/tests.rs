//! The client against a server on loopback, plain and over TLS.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use test_cluster::certificate::Authority;
use test_cluster::http::{Reply, Scripted};
use test_cluster::scratch::Scratch;

use super::*;
use crate::kube::config::{ConnectOptions, Environment};
use crate::kube::error_chain;

const BUDGET: &str =
    r#"{"kind":"Status","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"needs 2"}]},"code":429}"#;

type Seen = Arc<Mutex<Vec<Observation>>>;

fn location(server: &str, cluster: &str, user: &str) -> Location {
    let scratch = Scratch::new();
    let config = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n\
         clusters: [{{name: x, cluster: {{server: '{server}', {cluster}}}}}]\nusers: [{{name: x, user: {{{user}}}}}]\n"
    );
    let kubeconfig = Some(scratch.file("config", config));
    Location::find(&ConnectOptions { kubeconfig, context: None, environment: Environment::default() }).unwrap()
}

fn connect(location: &Location) -> (Client, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    (Client::connect(location, Arc::new(move |observation| kept.lock().unwrap().push(*observation))).unwrap(), seen)
}

fn client(server: &Scripted) -> (Client, Seen) {
    connect(&location(&server.url(), "", "token: s3cr3t"))
}

/// The code of each attempt; 0: no answer came.
fn codes(seen: &Seen) -> Vec<u16> {
    seen.lock().unwrap().iter().map(|observation| observation.code.unwrap_or_default()).collect()
}

fn call(verb: Verb, path: &str) -> Call {
    Call { verb, resource: "nodes", object: "node worker-3".to_owned(), path: path.to_owned(), metadata_only: false }
}

fn get(client: &Client) -> Result<Value, ApiError> {
    client.read(&call(Verb::Get, "/api/v1/nodes/worker-3"))
}

fn create(client: &Client) -> Result<Value, ApiError> {
    client.write(&call(Verb::Create, "/evict"), &json!({ "kind": "Eviction" }))
}

#[derive(Deserialize)]
struct Item {
    name: String,
}

/// The names in a list, and its version if all its pages have the same.
fn list(client: &Client) -> Result<Value, ApiError> {
    let path = "/api/v1/nodes?watch=false";
    let listed = client.list(&call(Verb::List, path), Vec::new, |names: &mut Vec<String>, item: Item| names.push(item.name));
    listed.map(|(names, version)| json!([names.into_inner(), version.number().map(|number| number.to_string())]))
}

fn http(code: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// A whole answer after which the connection stays open.
fn answer(code: u16, body: &str) -> Reply {
    Reply::Raw(http(code, "", body))
}

/// An answer: its code, a header, its body. Code 0: all but the last byte of an answer with this body, then the end of the connection.
type Step = (u16, &'static str, &'static str);

/// Starts a server that answers by these steps; the last is repeated.
fn serve(tls: Option<Arc<ServerConfig>>, steps: &[Step]) -> Scripted {
    let steps = steps.to_vec();
    Scripted::start(tls, move |number, _| match steps[number.min(steps.len() - 1)] {
        (0, _, "") => Reply::Cut,
        (0, _, body) => Reply::CutAfter(http(200, "", body)[..http(200, "", body).len() - 1].to_vec()),
        (code, header, body) => Reply::Raw(http(code, header, body)),
    })
}

/// Sends a request to a server, which must be asked as often as `attempts` says. A result that is no text is in an error's message.
#[track_caller]
fn check(send: fn(&Client) -> Result<Value, ApiError>, steps: &[Step], attempts: &[u16], expected: &str) {
    let server = serve(None, steps);
    let (client, seen) = client(&server);
    let result = send(&client).map_or_else(|error| error_chain(&error), |value| value.to_string());
    assert!(result.contains(expected), "{result}");
    assert_eq!(codes(&seen), attempts);
    assert_eq!(server.received().len(), attempts.len());
}

#[test]
fn a_read_is_repeated_until_it_succeeds_and_a_write_only_if_the_server_did_not_act() {
    check(get, &[(503, "", ""), (0, "", ""), (0, "", "{}"), (200, "", r#"{"a":1}"#)], &[503, 0, 200, 200], r#"{"a":1}"#);
    check(create, &[(503, "", "")], &[503], "the API server failed");
    check(create, &[(408, "", "")], &[408], "the API server failed");
    check(create, &[(0, "", "")], &[0], "no answer from the API server");
    check(create, &[(429, "Retry-After: 1\r\n", "Too many requests"), (201, "", "{}")], &[429, 201], "{}");
    check(create, &[(429, "retry-after: 10\r\n", BUDGET)], &[429], "; needs 2");
    // No redirect is followed.
    check(get, &[(302, "location: /elsewhere\r\n", "")], &[302], "HTTP status 302 was not expected");
}

#[test]
fn a_list_is_all_its_pages_or_an_error() {
    const FIRST: Step = (200, "", r#"{"metadata":{"continue":"a b","resourceVersion":"7"},"items":[{"name":"a"}]}"#);
    const LAST: Step = (200, "", r#"{"metadata":{"resourceVersion":"7"},"items":[{"name":"b"},{"name":"c"}]}"#);
    const LATER: Step = (200, "", r#"{"metadata":{"resourceVersion":"8"},"items":[]}"#);
    const GONE: Step = (410, "", r#"{"kind":"Status","reason":"Expired","code":410}"#);
    check(list, &[FIRST, (503, "", ""), LAST], &[200, 503, 200], r#"[["a","b","c"],"7"]"#);
    check(list, &[FIRST, LATER], &[200, 200], r#"[["a"],null]"#);
    // A list that starts over keeps nothing of the pages before.
    check(list, &[FIRST, GONE, FIRST, (0, "", LAST.2), LAST], &[200, 410, 200, 200, 200], r#"[["b","c"],"7"]"#);
    check(list, &[GONE], &[410; 4], "no longer keeps that version");
    check(list, &[FIRST], &[200; 2], "expected a list, got the same page again");
    check(list, &[FIRST, (200, "", r#"{"kind":"Status","message":"no"}"#)], &[200; 2], "expected a list, got kind \"Status\", “no”");
    let odd = "could not list node worker-3: the answer of the API server is invalid: the list does not have the expected form, at item 1";
    check(list, &[(200, "", r#"{"items":[{"name":null}]}"#)], &[200], odd);
}

#[test]
fn a_request_has_its_method_path_headers_and_body() {
    let server = serve(
        None,
        &[(200, "", "{}"), (200, "", "{}"), (201, "", "{}"), (200, "", r#"{"metadata":{"continue":"x+/=& y-_.~9"},"items":[]}"#)],
    );
    let (client, seen) = client(&server);
    get(&client).unwrap();
    client.write::<Value>(&Call { metadata_only: true, ..call(Verb::Patch, "/api/v1/nodes/a") }, &json!({"b": 2})).unwrap();
    create(&client).unwrap();
    list(&client).unwrap_err();
    let received = server.received();
    let heads: Vec<_> = received.iter().map(|request| request.head().to_ascii_lowercase()).collect();
    let contains = [
        (0, "get /api/v1/nodes/worker-3 http/1.1\r\n"),
        (0, "\r\naccept: application/json\r\n"),
        (0, "\r\nauthorization: bearer s3cr3t\r\n"),
        (0, concat!("\r\nuser-agent: reboot-manager/", env!("CARGO_PKG_VERSION"), "\r\n")),
        (1, "patch /api/v1/nodes/a "),
        (1, "\r\ncontent-type: application/merge-patch+json\r\n"),
        (1, "\r\naccept: application/json;as=partialobjectmetadata;g=meta.k8s.io;v=v1\r\n"),
        (2, "post /evict "),
        (2, "\r\ncontent-type: application/json\r\n"),
        (3, "get /api/v1/nodes?watch=false "),
        (4, "get /api/v1/nodes?watch=false&continue=x%2b%2f%3d%26%20y-_.~9 "),
    ];
    for (number, text) in contains {
        assert!(heads[number].contains(text), "{}", heads[number]);
    }
    assert!(!heads[0].contains("accept-encoding"));
    assert_eq!(received[1].body, br#"{"b":2}"#);
    assert!(received.iter().all(|request| request.connection == 0), "one connection serves all");
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].verb, seen[0].resource, seen[0].code), (Verb::Get, "nodes", Some(200)));
}

#[test]
fn a_write_on_a_connection_closed_meanwhile_uses_another() {
    let server = Scripted::start(None, |number, _| if number == 0 { Reply::CutAfter(http(200, "", "{}")) } else { answer(201, "{}") });
    let (client, _) = client(&server);
    get(&client).unwrap();
    // The end of the connection is on its way; what is awaited is that the kernel has it.
    while create(&client).is_err() {}
    assert_ne!(server.received().last().unwrap().connection, 0);
}

#[test]
fn a_refused_connection_is_reported_after_all_attempts() {
    // No server listens on port 1. A port that was bound and released may be given to another test.
    let (client, seen) = connect(&location(&format!("http://{}", SocketAddr::from(([127, 0, 0, 1], 1))), "", ""));
    let said = error_chain(&create(&client).unwrap_err());
    let expected = "could not create node worker-3: no answer from the API server: the connection was refused; is the API server up?: ";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(codes(&seen), [0; 4]);
}

#[test]
fn a_call_to_a_frozen_server_ends_in_time() {
    let server = Scripted::start(None, |_, _| {
        std::thread::park();
        Reply::Cut
    });
    let client = Client { call_time: Duration::from_millis(300), ..client(&server).0 };
    let started = clock::now().instant;
    let error = get(&client).unwrap_err();
    assert!(matches!(error, ApiError::Unreachable(_, TransportError::TimedOut(_))), "{error:?}");
    assert!(clock::now().instant - started < Duration::from_secs(5));
}

#[test]
fn answers_have_a_size_limit() {
    let server = Scripted::start(None, |number, _| {
        let long = "x".repeat(usize::try_from(OBJECT_BYTES_MAX).unwrap() + 1);
        if number == 0 { answer(403, &long) } else { answer(201, &format!("{{\"a\":\"{long}\"}}")) }
    });
    let (client, _) = client(&server);
    assert_eq!(get(&client).unwrap_err().status().unwrap().message.len(), 200);
    assert!(create(&client).is_err());
}

#[test]
fn a_refused_credential_is_renewed_once() {
    let scratch = Scratch::new();
    let token = scratch.file("token", "old");
    let user = format!("tokenFile: {}", token.display());
    let server = Scripted::start(None, move |number, _| {
        std::fs::write(&token, if number < 1 { "new" } else { "newest" }).unwrap();
        if number == 1 { answer(201, "{}") } else { answer(401, "") }
    });
    let (client, seen) = connect(&location(&server.url(), "", &user));
    create(&client).unwrap();
    assert!(server.received()[1].head().contains("Bearer new\r\n"));
    let said = get(&client).unwrap_err().to_string();
    let expected = "could not get node worker-3, the API server refuses it because it does not accept our credential: 401";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(codes(&seen), [401, 201, 401, 401]);
    let (fixed, seen) = connect(&location(&server.url(), "", "token: fixed"));
    get(&fixed).unwrap_err();
    assert_eq!(codes(&seen), [401]);
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Starts a server with a certificate for `name`; a client may show a certificate of the same authority.
fn secure(authority: &Authority, name: &str) -> Scripted {
    serve(Some(authority.issue(&[name]).server(Some(authority))), &[(200, "", "{}")])
}

/// Connects to a server whose certificate must be of `authority`, and sends this many requests.
fn tls(server: &Scripted, authority: &Authority, cluster: &str, user: &str, requests: usize) -> Result<(), String> {
    let cluster = format!("certificate-authority-data: {}, {cluster}", base64(authority.pem()));
    let (client, _) = connect(&location(&format!("https://{}", server.address()), &cluster, user));
    (0..requests).try_for_each(|_| get(&client).map(drop).map_err(|error| error_chain(&error)))
}

#[test]
fn the_servers_certificate_is_checked_by_name_address_and_ca() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let by_address = secure(&authority, "127.0.0.1");
    tls(&by_address, &authority, "", "", 3).unwrap();
    assert!(by_address.received().iter().all(|request| request.connection == 0), "a connection over TLS is used again");
    let by_name = secure(&authority, "kubernetes.default.svc");
    tls(&by_name, &authority, "tls-server-name: kubernetes.default.svc", "", 1).unwrap();
    for (server, authority, cluster, why) in [
        (&by_address, &stranger, "", "the server's certificate has a signature that is not of the configured CA"),
        (&by_name, &authority, "", "the TLS handshake failed; check the CA"),
        (&by_name, &authority, "tls-server-name: kubernetes.other", "the TLS handshake failed; check the CA"),
    ] {
        let said = tls(server, authority, cluster, "", 1).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let unchecked = location(&format!("https://{}", by_name.address()), "insecure-skip-tls-verify: true", "");
    get(&connect(&unchecked).0).unwrap();
}

#[test]
fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let server = secure(&authority, "127.0.0.1");
    let [pair, other] = [authority.issue(&["client"]), authority.issue(&["client"])];
    let user = |key: &str| format!("client-certificate-data: {}, client-key-data: {}", base64(&pair.pem), base64(key));
    tls(&server, &authority, "", &user(&pair.key_pem), 1).unwrap();
    tls(&server, &authority, "", "", 1).unwrap();
    assert_eq!(server.received().iter().map(|request| request.certified).collect::<Vec<_>>(), [true, false]);
    let unfit = location("https://a", "insecure-skip-tls-verify: true", &user(&other.key_pem));
    let said = error_chain(&Client::connect(&unfit, Arc::new(|_| ())).err().unwrap());
    assert!(said.contains("the client certificate does not belong to the client key"), "{said}");
}

#[test]
fn another_certificate_makes_another_connection() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let (old, new) = (authority.issue(&["old"]), authority.issue(&["new"]));
    let (certificate, key) = (scratch.file("crt", &old.pem), scratch.file("key", &old.key_pem));
    let user = format!("client-certificate: {}, client-key: {}", certificate.display(), key.display());
    let server = Scripted::start(Some(authority.issue(&["127.0.0.1"]).server(Some(&authority))), move |number, _| {
        std::fs::write(&certificate, &new.pem).unwrap();
        std::fs::write(&key, &new.key_pem).unwrap();
        answer(if number == 0 { 401 } else { 200 }, "{}")
    });
    tls(&server, &authority, "", &user, 1).unwrap();
    assert_eq!(server.received().iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_proxy_is_asked_to_connect_and_never_sees_the_token() {
    let proxy = Scripted::start(None, |_, _| Reply::CutAfter(http(502, "", "")));
    let cluster = format!("insecure-skip-tls-verify: true, proxy-url: '{}'", proxy.url());
    create(&connect(&location("https://api.invalid:6443", &cluster, "token: s3cr3t")).0).unwrap_err();
    let head = proxy.received()[0].head().to_owned();
    assert!(head.starts_with("CONNECT api.invalid:6443 HTTP/1.1\r\n") && !head.contains("s3cr3t"), "{head}");
}

/// Sends an answer that has no end, with one event, to a watch. Returns the names of the events that were taken, and the result.
fn watch(open: bool, silence: Duration, then: ControlFlow<()>) -> (Vec<String>, Result<(), ApiError>) {
    let event = "{\"name\":\"a\"}\n";
    let answer = format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n", event.len());
    let server = Scripted::start(None, move |_, _| Reply::Raw(answer.clone().into_bytes()));
    let client = Client { silence, ..client(&server).0 };
    let mut names = Vec::new();
    let take = |item: Item| {
        names.push(item.name);
        then
    };
    let result = client.watch(&call(Verb::Watch, "/api/v1/nodes?watch=true"), Duration::from_secs(7), || open, take);
    let received = server.received();
    assert!(received[0].head().starts_with("GET /api/v1/nodes?watch=true&timeoutSeconds=7 "), "{}", received[0].head());
    assert_eq!(received.len(), 1, "a watch is not taken up again here");
    (names, result)
}

#[test]
fn an_event_is_taken_when_it_comes_unless_the_watch_is_not_wanted_any_more() {
    for (open, names) in [(true, vec!["a".to_owned()]), (false, Vec::new())] {
        let (taken, result) = watch(open, limits::SILENCE, ControlFlow::Break(()));
        assert_eq!((taken, result.is_ok()), (names, true));
    }
}

#[test]
fn a_watch_that_brings_nothing_for_too_long_is_given_up() {
    let (names, result) = watch(true, Duration::from_millis(200), ControlFlow::Continue(()));
    assert!(matches!(result, Err(ApiError::Unreachable(_, TransportError::TimedOut(_)))), "{result:?}");
    assert_eq!(names, ["a"]);
}

#[test]
fn a_watch_that_is_denied_is_not_open() {
    let server = serve(None, &[(403, "", "")]);
    let open = || panic!("the watch is open");
    let take = |_: Value| panic!("an event");
    let result = client(&server).0.watch(&call(Verb::Watch, "/api/v1/nodes?watch=true"), Duration::from_secs(7), open, take);
    assert!(matches!(result, Err(ApiError::Refused { .. })));
}

/// Counts the logged lines, and those with the token.
struct Spy;

static LOGGED: AtomicUsize = AtomicUsize::new(0);
static LEAKED: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Spy {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.fetch_add(1, Ordering::Relaxed);
        LEAKED.fetch_add(usize::from(record.args().to_string().contains("s3cr3t")), Ordering::Relaxed);
    }

    fn flush(&self) {}
}

#[test]
fn the_token_is_never_shown() {
    log::set_logger(&Spy).unwrap();
    // A release build has no TRACE (`release_max_level_debug`), where ureq dumps what it sends.
    log::set_max_level(log::LevelFilter::Debug);
    let server = Scripted::start(None, |number, _| if number < 2 { answer(503, "") } else { answer(403, r#"{"message":"no"}"#) });
    let location = location(&server.url(), "", "token: s3cr3t");
    let (client, _) = connect(&location);
    let error = get(&client).unwrap_err();
    assert!(server.received()[0].head().contains("s3cr3t"));
    for shown in [format!("{location:?}"), location.describe(), format!("{error:?}"), error_chain(&error)] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
    assert_eq!((LOGGED.load(Ordering::Relaxed) > 0, LEAKED.load(Ordering::Relaxed)), (true, 0));
}
