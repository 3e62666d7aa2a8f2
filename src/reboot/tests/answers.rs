//! What each outcome is on the wire.

use super::*;

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
