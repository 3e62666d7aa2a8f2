//! Parses a request as it arrived into a [`Request`], or into the [`Refusal`] of one that is not FleetLock's.
//!
//! `Content-Type` is ignored: Zincati sends none. The size of a request is limited where it is read.

use std::fmt;
use std::ops::ControlFlow::{self, Break, Continue};

use serde::Deserialize;

use super::{Kind, Refusal};
use crate::cluster::HexId;

/// Characters a group's name may have at most, as a Kubernetes label value.
const GROUP_MAX: usize = 63;

/// Characters of a parser's error that are shown.
const ERROR_SHOWN_MAX: usize = 240;

/// The question of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/pre-reboot`: may I reboot now?
    PreReboot,
    /// `POST /v1/steady-state`: I am up, and hold no slot any more.
    SteadyState,
}

/// A group of machines: `^[a-zA-Z0-9.-]+$`, at most 63 characters. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupName(String);

/// A well-formed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The question.
    pub endpoint: Endpoint,
    /// `client_params.id`.
    pub id: HexId,
    /// `client_params.group`.
    pub group: GroupName,
}

/// The parts of a request's head that decide.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `POST`, upper case.
    pub method: &'a str,
    /// Path and query of the request line.
    pub target: &'a str,
    /// Value of the header `fleet-lock-protocol`, which may appear once.
    pub protocol: Option<&'a str>,
}

/// Returns the endpoint that the last two segments of `target` name, below `base` (a path such as `/` or `/fleet/`). Repeated slashes
/// count as one, the query is ignored.
pub fn endpoint(target: &str, base: &str) -> Option<Endpoint> {
    let mut segments = path(target).split('/').filter(|segment| !segment.is_empty());
    for wanted in base.split('/').filter(|segment| !segment.is_empty()) {
        if segments.next() != Some(wanted) {
            return None;
        }
    }
    // Before them there may be any path, as in the `base_url` that Zincati's documentation shows.
    match (segments.next_back(), segments.next_back()) {
        (Some("pre-reboot"), Some("v1")) => Some(Endpoint::PreReboot),
        (Some("steady-state"), Some("v1")) => Some(Endpoint::SteadyState),
        _ => None,
    }
}

fn path(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// Checks the head of a request.
fn check(head: Head<'_>, base: &str) -> ControlFlow<Refusal, Endpoint> {
    let Some(endpoint) = endpoint(head.target, base) else { return Break(not_found(head.target, base)) };
    if head.method != "POST" {
        return Break(not_allowed(head.method));
    }
    match head.protocol {
        // The protocol has `true`; clients that write a boolean may send `True`.
        Some(value) if value.eq_ignore_ascii_case("true") => Continue(endpoint),
        None => bad("the header fleet-lock-protocol is missing; it must be: true"),
        Some(value) => bad(format!("the header fleet-lock-protocol is {:?}; it must be: true", clip(value))),
    }
}

/// Reads a request whose body is complete.
pub fn parse(head: Head<'_>, body: &[u8], base: &str) -> ControlFlow<Refusal, Request> {
    let endpoint = check(head, base)?;
    match serde_json::from_slice::<WireRequest>(body) {
        Ok(WireRequest { client_params: WireParams { id, group } }) => {
            Continue(Request { endpoint, id: self::id(&id)?, group: self::group(&group)? })
        }
        Err(error) => {
            // The error quotes an unexpected text whole.
            let error: String = error.to_string().chars().take(ERROR_SHOWN_MAX).collect();
            bad(format!("the body is not {{\"client_params\": {{\"id\", \"group\"}}}} in JSON: {error}"))
        }
    }
}

fn id(text: &str) -> ControlFlow<Refusal, HexId> {
    // White space is ignored: `$(cat /etc/machine-id)` and the like may leave a line feed.
    let Some(id) = HexId::parse(text.trim()) else {
        let rule = "it must be Zincati's id or a machine-id: 32 hexadecimal digits, dashes and case ignored";
        return bad(format!("client_params.id is {:?}; {rule}", clip(text)));
    };
    Continue(id)
}

fn group(text: &str) -> ControlFlow<Refusal, GroupName> {
    let Some(group) = GroupName::parse(text) else {
        let rule = format!("it must have 1 to {GROUP_MAX} letters, digits, dots or dashes");
        return bad(format!("client_params.group is {:?}; {rule}", clip(text)));
    };
    Continue(group)
}

fn bad<T>(message: impl Into<String>) -> ControlFlow<Refusal, T> {
    Break(Refusal::new(Kind::BadRequest, message))
}

fn not_found(target: &str, base: &str) -> Refusal {
    let base = base.trim_matches('/');
    let begin = if base.is_empty() { String::new() } else { format!("begin with /{base}/ (--base-path) and ") };
    // The query may hold a secret.
    let path = clip(path(target));
    Refusal::new(Kind::NotFound, format!("there is no {path:?} here: the path must {begin}end with /v1/pre-reboot or /v1/steady-state"))
}

fn not_allowed(method: &str) -> Refusal {
    let message = match method {
        "GET" => "POST is expected, this was a GET: a redirect (as from http to https) probably turned the POST into a GET; \
                  give the node the final address as base_url"
            .to_owned(),
        other => format!("POST is expected, this was {:?}", clip(other)),
    };
    Refusal::new(Kind::MethodNotAllowed, message)
}

impl GroupName {
    /// Parses a group's name.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let is_name = !text.is_empty() && text.len() <= GROUP_MAX && text.bytes().all(allowed);
        is_name.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Endpoint {
    /// Returns the last segment of the path, which is also the name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreReboot => "pre-reboot",
            Self::SteadyState => "steady-state",
        }
    }
}

/// Shortens a text of the request for the answer.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireRequest {
    client_params: WireParams,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireParams {
    id: String,
    group: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "978a225b3d7b40e9acd7ce9b62f68444";
    const BODY: &str = "{\n  \"client_params\": {\n    \"id\": \"978a225b3d7b40e9acd7ce9b62f68444\",\n    \"group\": \"default\"\n  }\n}";

    fn post(target: &str) -> Head<'_> {
        Head { method: "POST", target, protocol: Some("true") }
    }

    #[track_caller]
    fn check(head: Head<'_>, body: &str, want: u16, says: &str) {
        match parse(head, body.as_bytes(), "/") {
            Continue(request) => assert_eq!(want, 200, "{request:?}"),
            Break(refusal) => {
                assert_eq!(refusal.kind.status(), want, "{refusal:?}");
                assert!(refusal.message.contains(says), "{refusal:?}");
            }
        }
    }

    #[test]
    fn a_group_has_its_length_and_an_endpoint_its_name() {
        for (length, good) in [(0, false), (1, true), (GROUP_MAX, true), (GROUP_MAX + 1, false)] {
            assert_eq!(GroupName::parse(&"g".repeat(length)).is_some(), good, "{length}");
        }
        assert_eq!([Endpoint::PreReboot, Endpoint::SteadyState].map(Endpoint::name), ["pre-reboot", "steady-state"]);
    }

    #[test]
    fn requests_of_zincati_and_fleetlockctl_are_parsed() {
        let request = parse(post("/v1/pre-reboot"), BODY.as_bytes(), "/").continue_value().unwrap();
        assert_eq!(request.endpoint, Endpoint::PreReboot);
        assert_eq!(request.id.to_string(), ID);
        assert_eq!(request.group.to_string(), "default");
        let compact = format!(r#"{{"client_params":{{"id":"{ID}","group":"-Workers.A","more":1}},"more":2}}"#);
        let request = parse(post("//v1/steady-state?a=b"), compact.as_bytes(), "/").continue_value().unwrap();
        assert_eq!((request.endpoint, request.group.to_string().as_str()), (Endpoint::SteadyState, "-Workers.A"));
        let request = parse(Head { protocol: Some("True"), ..post("/v1/pre-reboot") }, BODY.as_bytes(), "/");
        assert!(request.is_continue(), "{request:?}");
    }

    #[test]
    fn each_invalid_request_has_its_answer() {
        let good = post("/v1/pre-reboot");
        check(Head { method: "GET", ..good }, "", 405, "redirect");
        check(Head { method: "PUT", ..good }, BODY, 405, "PUT");
        check(Head { protocol: None, ..good }, BODY, 400, "missing");
        check(Head { protocol: Some("yes"), ..good }, BODY, 400, "\"yes\"");
        check(post("/v2/pre-reboot"), BODY, 404, "/v1/pre-reboot");
        check(post("/v1/pre-reboot/x?password=secret"), BODY, 404, "no \"/v1/pre-reboot/x\" here: the path must end with");
        check(good, "", 400, "JSON");
        check(good, "{}", 400, "client_params");
        check(good, "7", 400, "expected an object");
        check(good, r#"{"client_params":7}"#, 400, "expected an object");
        check(good, r#"{"client_params":{"id":"x"}}"#, 400, "group");
        check(good, r#"{"client_params":{"id":7,"group":"a"}}"#, 400, "string");
        let group = |group: &str| format!(r#"{{"client_params":{{"id":"{ID}","group":"{group}"}}}}"#);
        check(good, &group(""), 400, "group");
        check(good, &group("a b"), 400, "\"a b\"");
        check(good, &group(&"g".repeat(64)), 400, "63");
    }

    #[test]
    fn an_id_is_parsed_or_quoted_in_the_refusal() {
        let [upper, dashed] = [ID.to_uppercase(), format!("{}-{}", &ID[..8], &ID[8..])];
        let around = [format!("{ID}\n"), format!(" \t{ID}\r\n"), format!("\u{2028}{ID}")];
        for text in [ID, &upper, &dashed].into_iter().chain(around.iter().map(String::as_str)) {
            assert_eq!(id(text).continue_value().unwrap().to_string(), ID, "{text:?}");
        }
        let (short, broken, long) = (&ID[1..], format!("{}\n{}", &ID[..16], &ID[16..]), format!("{ID}0"));
        for text in ["", "x", "short", "ü", "\u{1b}[31m", "\u{202e}", " ", short, &broken, &long, &"x".repeat(5000)] {
            let refused = id(text).break_value().unwrap();
            assert_eq!(refused.kind, Kind::BadRequest);
            assert!(refused.message.contains(&format!("{:?}", clip(text))) && refused.message.contains("32"), "{}", refused.message);
            assert!(!refused.message.chars().any(char::is_control), "{:?}", refused.message);
        }
    }

    #[test]
    fn paths_are_found_below_the_base() {
        use Endpoint::{PreReboot, SteadyState};
        let cases = [
            ("/v1/pre-reboot", "/", Some(PreReboot)),
            ("/v1/steady-state", "", Some(SteadyState)),
            ("//v1//pre-reboot", "/", Some(PreReboot)),
            ("/v1/pre-reboot/", "/", Some(PreReboot)),
            ("/v1/pre-reboot?x=/v1/steady-state", "/", Some(PreReboot)),
            ("/fleet/v1/pre-reboot", "/fleet/", Some(PreReboot)),
            ("/a//b/v1/pre-reboot", "a/b", Some(PreReboot)),
            ("/v1/pre-reboot", "/fleet", None),
            ("/other/v1/pre-reboot", "/fleet", None),
            ("/fleet/v1/pre-reboot", "/fleet/v1", None),
            ("/fleet/v1/v1/pre-reboot", "/fleet/v1", Some(PreReboot)),
            ("/fleet/a/v1/pre-reboot", "/fleet", Some(PreReboot)),
            ("/fleet/v1/pre-reboot", "/", Some(PreReboot)),
            ("//fleet_lock//v1/steady-state", "/", Some(SteadyState)),
            ("/v1/steady-state/v1/pre-reboot", "/", Some(PreReboot)),
            ("/v1/pre-reboot/v1", "/", None),
            ("/pre-reboot", "/", None),
            ("/xv1/pre-reboot", "/", None),
            ("/x?/v1/pre-reboot", "/", None),
            ("/v1/%70re-reboot", "/", None),
            ("/V1/pre-reboot", "/", None),
            ("/", "/", None),
            ("", "/", None),
        ];
        for (target, base, want) in cases {
            assert_eq!(endpoint(target, base), want, "{target} below {base}");
        }
    }

    #[test]
    fn an_answer_quotes_little_of_a_request() {
        let long = "x".repeat(5000);
        let bodies =
            [format!("{{\"client_params\": \"{long}\"}}"), format!("{{\"client_params\": {{\"id\": \"{ID}\", \"group\": \"{long}\"}}}}")];
        for body in bodies {
            let refused = parse(post("/v1/pre-reboot"), body.as_bytes(), "/").break_value().unwrap();
            assert!(refused.message.chars().count() < 400, "{} characters", refused.message.chars().count());
        }
    }
}
