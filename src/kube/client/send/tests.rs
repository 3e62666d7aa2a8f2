//! The client against a server on loopback, plain and over TLS.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use test_cluster::certificate::Authority;
use test_cluster::http::{Reply, Scripted};
use test_cluster::scratch::Scratch;

use super::*;
use crate::kube::client::call::{Detail, Verb};
use crate::kube::config::{ConnectOptions, Environment};
use crate::kube::error_chain;
use crate::kube::testing::{base64, closed_port, http, json as answer};

const BUDGET: &str =
    r#"{"kind":"Status","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"needs 2"}]},"code":429}"#;

type Seen = Arc<Mutex<Vec<Observation>>>;

fn location(server: &str, cluster: &str, user: &str) -> Location {
    let scratch = Scratch::new();
    let config = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n\
         clusters: [{{name: x, cluster: {{server: '{server}', {cluster}}}}}]\nusers: [{{name: x, user: {{{user}}}}}]\n"
    );
    let given = ConnectOptions {
        kubeconfig: Some(scratch.file("config", config)),
        environment: Environment::default(),
        ..ConnectOptions::default()
    };
    Location::find(&given).unwrap()
}

fn connect(location: &Location) -> (Client, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let client =
        Client::connect(location, Limits::default(), Arc::new(move |observation| kept.lock().unwrap().push(*observation))).unwrap();
    (client, seen)
}

fn client(server: &Scripted) -> (Client, Seen) {
    connect(&location(&server.url(), "", "token: s3cr3t"))
}

fn codes(seen: &Seen) -> Vec<Option<u16>> {
    seen.lock().unwrap().iter().map(|observation| observation.code).collect()
}

fn call(verb: Verb, path: &str) -> Call {
    Call { verb, resource: "nodes", object: "node worker-3".to_owned(), path: path.to_owned(), detail: Detail::Whole }
}

fn get(client: &Client) -> Result<Value, ApiError> {
    client.read(&call(Verb::Get, "/api/v1/nodes/worker-3"))
}

fn create(client: &Client) -> Result<IgnoredAny, ApiError> {
    client.write(&call(Verb::Create, "/evict"), &json!({ "kind": "Eviction" }))
}

#[derive(Deserialize)]
struct Item {
    name: String,
}

fn list(client: &Client) -> Result<Vec<String>, ApiError> {
    client
        .list(&call(Verb::List, "/api/v1/nodes?watch=false"), Vec::new, |names: &mut Vec<String>, item: Item| names.push(item.name))
        .map(|(names, _)| names.into_inner())
}

#[test]
fn a_request_has_its_method_path_headers_and_body() {
    let server = Scripted::start(None, |_, _| answer(200, r#"{"a":1}"#));
    let (client, seen) = client(&server);
    assert_eq!(get(&client).unwrap(), json!({"a": 1}));
    let patch = Call { detail: Detail::Metadata, ..call(Verb::Patch, "/api/v1/nodes/a") };
    client.write::<IgnoredAny>(&patch, &json!({"b": 2})).unwrap();
    create(&client).unwrap();
    let received = server.received();
    let head = received[0].head().to_ascii_lowercase();
    assert!(head.starts_with("get /api/v1/nodes/worker-3 http/1.1\r\n"), "{head}");
    for line in [
        "accept: application/json\r\n",
        "authorization: bearer s3cr3t\r\n",
        concat!("user-agent: reboot-manager/", env!("CARGO_PKG_VERSION"), "\r\n"),
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("accept-encoding"));
    let head = received[1].head().to_ascii_lowercase();
    assert!(head.starts_with("patch ") && head.contains("content-type: application/merge-patch+json\r\n"));
    assert!(head.contains("accept: application/json;as=partialobjectmetadata;g=meta.k8s.io;v=v1\r\n"));
    assert_eq!(received[1].body, br#"{"b":2}"#);
    assert!(received[2].head().starts_with("POST ") && received[2].head().contains("application/json"));
    assert!(received.iter().all(|request| request.connection == 0), "one connection serves all");
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].verb, seen[0].resource, seen[0].code), (Verb::Get, "nodes", Some(200)));
}

#[test]
fn a_read_is_repeated_until_it_succeeds() {
    let server = Scripted::start(None, |number, _| match number {
        0 => answer(503, ""),
        1 => Reply::Cut,
        2 => Reply::CutAfter(http(200, "", r#"{"a":1}"#)[..40].to_vec()),
        _ => answer(200, r#"{"a":1}"#),
    });
    let (client, seen) = client(&server);
    assert_eq!(get(&client).unwrap(), json!({"a": 1}));
    assert_eq!(codes(&seen), [Some(503), None, Some(200), Some(200)]);
}

#[test]
fn a_write_the_server_may_have_done_is_not_repeated() {
    for reply in ["503", "cut", "408"] {
        let server = Scripted::start(None, move |_, _| if reply == "cut" { Reply::Cut } else { answer(reply.parse().unwrap(), "") });
        let (client, _) = client(&server);
        let error = create(&client).map(|_| ()).unwrap_err();
        assert!(matches!((reply, &error), ("cut", ApiError::Unreachable { .. }) | ("503" | "408", ApiError::Failed { .. })), "{error:?}");
        assert_eq!(server.received().len(), 1);
    }
}

#[test]
fn an_eviction_refused_by_a_budget_comes_back_at_once() {
    let server = Scripted::start(None, |_, _| Reply::Raw(http(429, "retry-after: 10\r\n", BUDGET)));
    let (client, _) = client(&server);
    let error = create(&client).map(|_| ()).unwrap_err();
    assert!(matches!(&error, ApiError::Busy(_, status) if status.names_a_budget() && status.retry_after_seconds == Some(10)));
    assert_eq!(server.received().len(), 1);
}

#[test]
fn a_write_turned_away_by_priority_and_fairness_is_repeated() {
    let server = Scripted::start(None, |number, _| {
        if number == 0 { Reply::Raw(http(429, "Retry-After: 1\r\n", "Too many requests")) } else { answer(201, "{}") }
    });
    let (client, seen) = client(&server);
    create(&client).unwrap();
    assert_eq!(codes(&seen), [Some(429), Some(201)]);
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
    let (client, seen) = connect(&location(&format!("http://{}", closed_port()), "", ""));
    let error = create(&client).map(|_| ()).unwrap_err();
    assert!(
        error_chain(&error).starts_with(
            "could not create node worker-3: no answer from the API server: the connection was refused; is the API server up?: "
        )
    );
    assert_eq!(codes(&seen), [None; 4]);
}

#[test]
fn a_call_to_a_frozen_server_ends_in_time() {
    let server = Scripted::start(None, |_, _| {
        std::thread::park();
        Reply::Cut
    });
    let limits = Limits { call: Duration::from_millis(300), ..Limits::default() };
    let client = Client::connect(&location(&server.url(), "", ""), limits, Arc::new(|_| ())).unwrap();
    let started = clock::now().instant;
    let error = get(&client).unwrap_err();
    assert!(matches!(error, ApiError::Unreachable(_, TransportError::TimedOut(_))), "{error:?}");
    assert!(clock::now().instant - started < Duration::from_secs(5));
}

#[test]
fn a_redirect_is_not_followed() {
    let server = Scripted::start(None, |_, _| Reply::Raw(http(302, "location: /elsewhere\r\n", "")));
    let (client, _) = client(&server);
    assert!(matches!(get(&client).unwrap_err(), ApiError::Unreadable(_, DecodeError::Code(302))));
    assert_eq!(server.received().len(), 1);
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
    let kept = token.clone();
    let server = Scripted::start(None, move |number, _| {
        std::fs::write(&kept, if number < 1 { "new" } else { "newest" }).unwrap();
        if number == 1 { answer(201, "{}") } else { answer(401, "") }
    });
    let (client, seen) = connect(&location(&server.url(), "", &format!("tokenFile: {}", token.display())));
    create(&client).unwrap();
    assert!(server.received()[1].head().contains("Bearer new\r\n"));
    let error = get(&client).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("could not get node worker-3, the API server refuses it because it does not accept our credential: 401"),
        "{error}"
    );
    assert_eq!(codes(&seen), [Some(401), Some(201), Some(401), Some(401)]);
    let (fixed, seen) = connect(&location(&server.url(), "", "token: fixed"));
    get(&fixed).unwrap_err();
    assert_eq!(codes(&seen), [Some(401)]);
}

#[test]
fn a_list_is_all_its_pages() {
    let server = Scripted::start(None, |number, _| match number {
        0 => answer(200, r#"{"metadata":{"continue":"a b"},"items":[{"name":"a"}]}"#),
        1 => answer(503, ""),
        _ => answer(200, r#"{"metadata":{},"items":[{"name":"b"},{"name":"c"}]}"#),
    });
    let (client, _) = client(&server);
    assert_eq!(list(&client).unwrap(), ["a", "b", "c"]);
    let paths: Vec<_> = server.received().iter().map(|request| request.head().split(' ').nth(1).unwrap().to_owned()).collect();
    let second = "/api/v1/nodes?watch=false&limit=500&continue=a%20b";
    assert_eq!(paths, ["/api/v1/nodes?watch=false&limit=500", second, second]);
}

#[test]
fn an_expired_or_cut_list_is_started_over() {
    let server = Scripted::start(None, |number, _| match number {
        0 | 2 => answer(200, r#"{"metadata":{"continue":"x"},"items":[{"name":"a"}]}"#),
        1 => answer(410, r#"{"kind":"Status","reason":"Expired","code":410}"#),
        3 => Reply::CutAfter(b"HTTP/1.1 200 OK\r\n\r\n{\"items\":[{\"name\":\"b\"}".to_vec()),
        _ => answer(200, r#"{"items":[{"name":"c"}]}"#),
    });
    let (client, _) = client(&server);
    assert_eq!(list(&client).unwrap(), ["c"], "nothing of the pages before");
}

#[test]
fn a_list_that_never_ends_well_is_an_error() {
    let gone = Scripted::start(None, |_, _| answer(410, ""));
    assert!(matches!(list(&client(&gone).0).unwrap_err(), ApiError::Gone { .. }));
    assert_eq!(gone.received().len(), 4);
    let circle = Scripted::start(None, |_, _| answer(200, r#"{"metadata":{"continue":"x"},"items":[]}"#));
    assert!(error_chain(&list(&client(&circle).0).unwrap_err()).ends_with("expected a list, got the same page again"));
    let status = Scripted::start(None, |number, _| {
        answer(
            200,
            if number == 0 { r#"{"metadata":{"continue":"x"},"items":[{"name":"a"}]}"# } else { r#"{"kind":"Status","message":"no"}"# },
        )
    });
    assert!(error_chain(&list(&client(&status).0).unwrap_err()).contains("expected a list, got kind \"Status\", “no”"));
    let odd = Scripted::start(None, |_, _| answer(200, r#"{"items":[{"name":null}]}"#));
    assert!(error_chain(&list(&client(&odd).0).unwrap_err()).starts_with(
        "could not list node worker-3: the answer of the API server is invalid: the list does not have the expected form, at item 1"
    ));
}

fn tls(server: &Scripted, authority: &Authority, host: &str, cluster: &str, user: &str) -> Result<Value, String> {
    let ca = format!("certificate-authority-data: {}, {cluster}", base64(authority.pem()));
    let url = format!("https://{host}:{}", server.address().port());
    get(&connect(&location(&url, &ca, user)).0).map_err(|error| error_chain(&error))
}

#[test]
fn the_servers_certificate_is_checked_by_name_address_and_ca() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let by_address = Scripted::start(Some(authority.issue(&["127.0.0.1"]).server(None)), |_, _| answer(200, "{}"));
    tls(&by_address, &authority, "127.0.0.1", "", "").unwrap();
    assert!(
        tls(&by_address, &stranger, "127.0.0.1", "", "")
            .unwrap_err()
            .contains("no trusted connection could be made: the TLS handshake failed; check the CA")
    );
    let by_name = Scripted::start(Some(authority.issue(&["kubernetes.default.svc"]).server(None)), |_, _| answer(200, "{}"));
    assert!(tls(&by_name, &authority, "127.0.0.1", "", "").unwrap_err().contains("the TLS handshake failed"));
    tls(&by_name, &authority, "127.0.0.1", "tls-server-name: kubernetes.default.svc", "").unwrap();
    assert!(
        tls(&by_name, &authority, "127.0.0.1", "tls-server-name: kubernetes.other", "").unwrap_err().contains("the TLS handshake failed")
    );
    let unchecked = location(&format!("https://{}", by_name.address()), "insecure-skip-tls-verify: true", "");
    get(&connect(&unchecked).0).unwrap();
}

#[test]
fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let server = Scripted::start(Some(authority.issue(&["127.0.0.1"]).server(Some(&authority))), |_, _| answer(200, "{}"));
    let pair = authority.issue(&["client"]);
    let user = format!("client-certificate-data: {}, client-key-data: {}", base64(&pair.pem), base64(&pair.key_pem));
    tls(&server, &authority, "127.0.0.1", "", &user).unwrap();
    tls(&server, &authority, "127.0.0.1", "", "").unwrap();
    assert_eq!(server.received().iter().map(|request| request.certified).collect::<Vec<_>>(), [true, false]);
    let other = authority.issue(&["client"]);
    let unfit = format!("client-certificate-data: {}, client-key-data: {}", base64(&pair.pem), base64(&other.key_pem));
    let error =
        Client::connect(&location("https://a", "insecure-skip-tls-verify: true", &unfit), Limits::default(), Arc::new(|_| ())).unwrap_err();
    assert!(error_chain(&error).contains("the client certificate and its key do not fit together"), "{}", error_chain(&error));
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
    tls(&server, &authority, "127.0.0.1", "", &user).unwrap();
    assert_eq!(server.received().iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_connection_over_tls_is_used_again() {
    let authority = Authority::new();
    let server = Scripted::start(Some(authority.issue(&["127.0.0.1"]).server(None)), |_, _| answer(200, "{}"));
    let ca = format!("certificate-authority-data: {}", base64(authority.pem()));
    let (client, _) = connect(&location(&format!("https://{}", server.address()), &ca, ""));
    (0..3).for_each(|_| drop(get(&client).unwrap()));
    assert!(server.received().iter().all(|request| request.connection == 0));
}

#[test]
fn a_proxy_is_asked_to_connect_and_never_sees_the_token() {
    let proxy = Scripted::start(None, |_, _| Reply::CutAfter(http(502, "", "")));
    let cluster = format!("insecure-skip-tls-verify: true, proxy-url: '{}'", proxy.url());
    let (client, _) = connect(&location("https://api.invalid:6443", &cluster, "token: s3cr3t"));
    create(&client).map(|_| ()).unwrap_err();
    let received = proxy.received();
    assert!(received[0].head().starts_with("CONNECT api.invalid:6443 HTTP/1.1\r\n"), "{}", received[0].head());
    assert!(!received[0].head().contains("s3cr3t"));
}

/// Counts what is logged, and what of it must not be.
struct Spy;

static LOGGED: AtomicUsize = AtomicUsize::new(0);
static LEAKED: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Spy {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.fetch_add(1, Ordering::Relaxed);
        if record.args().to_string().contains("s3cr3t") {
            LEAKED.fetch_add(1, Ordering::Relaxed);
        }
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
    for shown in [format!("{location:?}"), location.describe(), format!("{client:?}"), format!("{error:?}"), error_chain(&error)] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
    assert!(LOGGED.load(Ordering::Relaxed) > 0);
    assert_eq!(LEAKED.load(Ordering::Relaxed), 0);
}

#[test]
fn a_list_has_a_version_when_all_its_pages_have_the_same() {
    for (second, version) in [("7", Some(7)), ("8", None)] {
        let server = Scripted::start(None, move |number, _| match number {
            0 => answer(200, r#"{"kind":"List","metadata":{"continue":"c","resourceVersion":"7"},"items":[{"name":"a"}]}"#),
            _ => answer(200, &format!(r#"{{"kind":"List","metadata":{{"resourceVersion":"{second}"}},"items":[]}}"#)),
        });
        let (client, _) = client(&server);
        let listed = client.list(&call(Verb::List, "/x"), || 0, |count: &mut usize, _: Item| *count += 1).unwrap();
        assert_eq!((listed.0.into_inner(), listed.1.number()), (1, version));
    }
}

/// The head of an answer that has no end yet, and one event.
fn one_event() -> Reply {
    let event = "{\"name\":\"a\"}\n";
    Reply::Raw(format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n", event.len()).into_bytes())
}

fn watch(client: &Client, take: impl FnMut(Item) -> std::ops::ControlFlow<()>) -> Result<bool, ApiError> {
    let mut opened = false;
    let call = Call { detail: Detail::Metadata, ..call(Verb::Watch, "/api/v1/nodes?watch=true") };
    let open = || {
        opened = true;
        true
    };
    client.watch(&call, Duration::from_secs(7), open, take).map(|()| opened)
}

#[test]
fn an_event_is_taken_when_it_comes_and_not_when_the_next_does() {
    let server = Scripted::start(None, |_, _| one_event());
    let (client, seen) = client(&server);
    let mut names = Vec::new();
    let opened = watch(&client, |item: Item| {
        names.push(item.name);
        std::ops::ControlFlow::Break(())
    });
    assert_eq!((opened.unwrap(), names), (true, vec!["a".to_owned()]));
    assert_eq!(codes(&seen), [Some(200)]);
    assert_eq!(seen.lock().unwrap()[0].verb, Verb::Watch);
    let head = server.received()[0].head().to_ascii_lowercase();
    assert!(head.starts_with("get /api/v1/nodes?watch=true&timeoutseconds=7 "), "{head}");
    assert!(head.contains("accept: application/json;as=partialobjectmetadata;g=meta.k8s.io;v=v1\r\n"), "{head}");
}

#[test]
fn a_watch_that_is_not_wanted_any_more_when_it_is_granted_takes_nothing() {
    let server = Scripted::start(None, |_, _| one_event());
    let (client, _) = client(&server);
    let take = |_: Item| -> std::ops::ControlFlow<()> { panic!("an event was taken") };
    client.watch(&call(Verb::Watch, "/api/v1/nodes?watch=true"), Duration::from_secs(7), || false, take).unwrap();
}

#[test]
fn a_watch_that_brings_nothing_for_too_long_is_given_up() {
    let server = Scripted::start(None, |_, _| one_event());
    let limits = Limits { silence: Duration::from_millis(200), ..Limits::default() };
    let client = Client::connect(&location(&server.url(), "", "token: x"), limits, Arc::new(|_: &_| {})).unwrap();
    let mut taken = 0;
    let error = watch(&client, |_| {
        taken += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(ApiError::Unreachable(_, TransportError::TimedOut(_)))), "{error:?}");
    assert_eq!((taken, server.received().len()), (1, 1), "nor is it taken up again here");
}

#[test]
fn a_watch_that_is_denied_is_not_open() {
    let server = Scripted::start(None, |_, _| answer(403, ""));
    let (client, _) = client(&server);
    assert!(matches!(watch(&client, |_| panic!("an event")), Err(ApiError::Refused { .. })));
}
