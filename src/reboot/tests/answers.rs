//! What each outcome is on the wire.

use super::*;
use crate::drain::{CallError, Progress};

#[track_caller]
fn check(outcome: Outcome, status: u16, kind: Kind, says: &str) {
    let reply = Reply::from(outcome);
    assert_eq!((reply.kind(), reply.kind().status()), (kind, status));
    assert!(reply.value().contains(says), "{reply:?}");
}

#[test]
fn a_refusal_says_why_and_only_a_node_in_service_gets_a_200() {
    let id = HexId([15; 16]);
    check(Outcome::UnknownNode(id), 404, Kind::UnknownNode, "matches the id 0f0f");
    let all = [name("a"), name("b")];
    check(Outcome::duplicate(id, &all), 404, Kind::DuplicateId, "the nodes a and b have the same machine-id (id 0f0f");
    check(Outcome::refused(Kind::Approved, "no".to_owned()), 500, Kind::InternalError, "no");
    check(Outcome::Settled(Settled::InService(name("n1"))), 200, Kind::SteadyState, "node n1 is in service");
    check(
        Outcome::Settled(Settled::SlotKept(name("n1"), crate::lock::KeepReason::Unreported)),
        200,
        Kind::SteadyState,
        "its slot is freed once",
    );
    check(Outcome::Settled(Settled::Unknown(id)), 200, Kind::SteadyState, "there is no Node to restore");
}

#[test]
fn a_drain_that_kubernetes_holds_up_is_not_called_blocked() {
    let progress = |is_refused| Progress::failed(CallError { is_refused, message: "no answer".to_owned() });
    let says = "node n1 cannot be drained now: no answer; the drain continues, ask again";
    check(Outcome::draining(&name("n1"), Some(&progress(false))), 503, Kind::KubernetesUnavailable, says);
    check(Outcome::draining(&name("n1"), Some(&progress(true))), 503, Kind::KubernetesRefused, says);
    check(Outcome::draining(&name("n1"), Some(&Progress::default())), 404, Kind::Draining, "has 0 pods left");
    check(Outcome::draining(&name("n1"), None), 404, Kind::Draining, "is being drained");
    let elsewhere = Progress { elsewhere: Some((Timestamp::UNIX_EPOCH, "has 1 pod left".to_owned())), ..Progress::default() };
    check(Outcome::draining(&name("n1"), Some(&elsewhere)), 404, Kind::DrainBlocked, "blocked since 1970");
}
