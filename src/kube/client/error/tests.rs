//! Answers of real API servers, and the messages they become.

use super::*;
use crate::kube::client::call::Verb;

const BUDGET: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web needs 2 healthy pods and has 2 currently"}]},"code":429}"#;
const CONFLICT: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be fulfilled on leases.coordination.k8s.io \"reboot-manager\": the object has been modified; please apply your changes to the latest version and try again","reason":"Conflict","details":{"name":"reboot-manager","group":"coordination.k8s.io","kind":"leases"},"code":409}"#;
const FORBIDDEN: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"nodes \"a\" is forbidden: User \"system:serviceaccount:x:y\" cannot get resource \"nodes\" in API group \"\" at the cluster scope","reason":"Forbidden","details":{"name":"a","kind":"nodes"},"code":403}"#;
const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"nodes \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"nodes"},"code":404}"#;
const INVALID: &str = r#"{"kind":"Status","status":"Failure","message":"Pod \"x\" is invalid","reason":"Invalid","details":{"causes":[{"reason":"FieldValueInvalid","message":"Invalid value: \"\"","field":"spec.nodeName"}]},"code":422}"#;
const TIMEOUT: &str = r#"{"kind":"Status","status":"Failure","message":"the server was unable to return a response in time","reason":"Timeout","details":{"retryAfterSeconds":7},"code":504}"#;

fn error(code: u16, after: Option<u64>, body: &str) -> ApiError {
    let status = ApiStatus::of_body(code, after, body.as_bytes());
    let (object, path) = ("node worker-3".to_owned(), String::new());
    ApiError::of(&Call { verb: Verb::Get, resource: "nodes", object, path, metadata_only: false }, Failure::Answered(Box::new(status)))
}

#[test]
fn each_code_is_the_action_it_asks_for() {
    let check = |code, body: &str, action: &str| {
        let error = format!("{:?}", error(code, None, body));
        assert!(error.starts_with(action), "{code}: {error}");
    };
    check(302, "", "Unreadable(\"get node worker-3\", Code(302))");
    check(400, "", "Refused(");
    check(401, "", "Refused(");
    check(403, FORBIDDEN, "Refused(");
    check(404, NOT_FOUND, "NotFound(");
    check(404, "default backend - 404", "Unreadable(\"get node worker-3\", NotKubernetes(");
    check(408, "", "Failed(");
    check(409, CONFLICT, "Conflict(");
    check(410, "", "Gone(");
    check(422, INVALID, "Refused(");
    check(429, "", "Busy(");
    check(500, "", "Failed(");
    check(504, TIMEOUT, "Failed(");
}

#[test]
fn only_kubernetes_own_word_for_this_object_means_that_it_does_not_exist() {
    let is_gone = |code, body: &str| {
        let error = error(code, None, body);
        matches!(&error, ApiError::NotFound(_, status) if status.is_not_found("nodes", "a"))
    };
    assert!(is_gone(404, NOT_FOUND));
    for other in [
        NOT_FOUND.replace("nodes", "pods"),
        NOT_FOUND.replace(r#""name":"a""#, r#""name":"b""#),
        NOT_FOUND.replace(r#""details":{"name":"a","kind":"nodes"},"#, ""),
        NOT_FOUND.replace(r#""reason":"NotFound""#, r#""reason":"Expired""#),
        r#"{"error":"not found"}"#.to_owned(),
        "default backend - 404".to_owned(),
        String::new(),
    ] {
        assert!(!is_gone(404, &other), "{other}");
    }
    assert!(!is_gone(410, NOT_FOUND));
}

#[test]
fn the_answer_of_the_server_is_kept() {
    let refused = error(429, None, BUDGET);
    let status = refused.status().unwrap();
    assert!(status.names_a_budget());
    assert_eq!(status.reason, "TooManyRequests");
    assert_eq!(status.causes[0].message, "The disruption budget web needs 2 healthy pods and has 2 currently");
    assert_eq!(error(422, None, INVALID).status().unwrap().causes[0].reason, "FieldValueInvalid");
    assert_eq!(error(504, None, TIMEOUT).status().unwrap().retry_after_seconds, Some(7));
    assert_eq!(error(504, Some(2), TIMEOUT).status().unwrap().retry_after_seconds, Some(2));
}

#[test]
fn messages_name_the_object_and_what_to_do() {
    let check = |error: ApiError, expected: &str| {
        let said = error_chain(&error);
        assert!(said.contains(expected), "{said}");
    };
    let forbidden = "could not get node worker-3, the API server refuses it because a permission is missing; see the RBAC rules of kubernetes/deployment.yaml: 403 Forbidden, \
         “nodes \"a\" is forbidden: User \"system:serviceaccount:x:y\" cannot get resource \"nodes\" in API group \"\" at the cluster scope”";
    check(error(403, None, FORBIDDEN), forbidden);
    check(
        error(409, None, CONFLICT),
        "could not get node worker-3, it was changed meanwhile; it must be read again: 409 Conflict, “Operation",
    );
    check(error(429, None, BUDGET), "; The disruption budget web needs 2 healthy pods and has 2 currently");
    let proxy = "does a proxy or load balancer in between answer for the API server? It was: 404, “default backend - 404”";
    check(error(404, None, "default backend - 404"), proxy);
}

#[test]
fn a_body_that_is_no_status_is_kept_in_part() {
    let message = |body: &[u8]| ApiStatus::of_body(502, None, body).message;
    assert_eq!(message(format!("<html>{}", "ü".repeat(500)).as_bytes()), format!("<html>{}", "ü".repeat(194)));
    assert_eq!(message(b"Too many requests, please try again later.\n"), "Too many requests, please try again later.");
    assert_eq!(message(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    assert_eq!(ApiStatus::of_body(500, None, b"null").code, 500);
    for length in 0..BUDGET.len() {
        assert_eq!(ApiStatus::of_body(429, None, &BUDGET.as_bytes()[..length]).code, 429);
    }
}
