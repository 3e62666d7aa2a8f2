//! A Node: read in each of the forms in which it is asked for, marked, and put back in service.

use reboot_manager::access::verify;
use reboot_manager::cluster::{Before, CordonRecord, Host, Node, NodeIdentity, NodeMark, NodePatch, Status, Term, Uid};
use serde_json::Value;

use crate::merge::merged;

pub(crate) fn run(input: &[u8]) {
    let mark: Option<NodeMark> = serde_json::from_slice(input).ok();
    let identity: Option<NodeIdentity> = serde_json::from_slice(input).ok();
    let _: Option<Host> = serde_json::from_slice(input).ok();
    let Ok(node) = serde_json::from_slice::<Node>(input) else { return };
    assert_eq!(mark.as_ref(), Some(&node.mark), "the metadata alone says something else");
    let identity = identity.expect("a whole Node has a name");
    assert_eq!((&identity.mark, identity.machine_id), (&node.mark, node.machine_id));
    let known: Vec<_> = node.addresses.iter().chain(&node.gateways).copied().collect();
    assert!(known.into_iter().all(|address| verify(&node, Some(address)).is_none()));

    // What nests too deeply for this reader is not written back either.
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    assert_eq!(again(&object), node, "read from a value it is another");
    let term = Term { lease: Uid("1".to_owned()), term: 7 };
    let record = CordonRecord { before: node.before_marking(), term: term.clone() };
    let marked_object = merged(object.clone(), &NodePatch::mark(&node, record).merge());
    let marked = again(&marked_object);
    assert!(marked.is_cordoned_for(&term), "the patch does not mark");
    assert_eq!((marked.machine_id, marked.readiness), (node.machine_id, node.readiness));

    let back = again(&merged(marked_object, &NodePatch::restore(&marked).merge()));
    assert!(back.mark.is_in_service());
    let was_ours = node.before_marking() == Before::Schedulable;
    assert_eq!(back.unschedulable, node.unschedulable && !was_ours, "a cordon was lost or left");
    let restored = again(&merged(object, &NodePatch::restore(&node).merge()));
    assert!(restored.mark.is_in_service() && restored.mark.status == Status::Ready);
    assert!(!restored.unschedulable || node.unschedulable);
}

fn again(object: &Value) -> Node {
    serde_json::from_value(object.clone()).expect("a Node stays one")
}
