//! A Node: read in each of the forms in which it is asked for, marked, and put back in service.

use jiff::Timestamp;
use reboot_manager::access::verify;
use reboot_manager::cluster::{Before, CordonRecord, Host, Member, Node, NodeMeta, NodePatch, Status, Term, Uid};
use serde_json::Value;

use crate::merge::merged;

pub(crate) fn run(input: &[u8]) {
    let meta: Option<NodeMeta> = serde_json::from_slice(input).ok();
    let member: Option<Member> = serde_json::from_slice(input).ok();
    let _: Option<Host> = serde_json::from_slice(input).ok();
    let Ok(node) = serde_json::from_slice::<Node>(input) else { return };
    assert_eq!(meta.as_ref(), Some(&node.meta), "the metadata alone says something else");
    let member = member.expect("a whole Node is a member");
    assert_eq!((&member.name, &member.uid.to_string(), member.version), (node.name(), &node.meta.uid.0, node.meta.version.number()));
    assert_eq!((member.status, member.record.as_deref()), (node.meta.status, node.meta.record.as_ref()));
    assert_eq!((member.machine_id, &member.boot_id.to_string()), (node.machine_id, &node.boot_id));
    assert_eq!((member.readiness, member.readiness_since), (node.readiness, node.readiness_since));
    assert_eq!((member.unschedulable, member.control_plane), (node.unschedulable, node.control_plane));
    let known: Vec<_> = node.addresses.iter().chain(&node.gateways).copied().collect();
    assert!(known.into_iter().all(|address| verify(&node, address).is_none()));

    // What nests too deeply for this reader is not written back either.
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    assert_eq!(again(&object), node, "read from a value it is another");
    let term = Term { lease: Uid("1".to_owned()), term: 7 };
    let record = CordonRecord { before: node.before_marking(), term: term.clone(), drained: None };
    let marked_object = merged(object.clone(), &NodePatch::mark(&node, record).merge());
    let marked = again(&marked_object);
    assert!(marked.is_cordoned_for(&term), "the patch does not mark");
    assert_eq!((marked.machine_id, marked.readiness), (node.machine_id, node.readiness));
    let record = marked.meta.record.as_ref().expect("a marked node has a record");
    let drained = again(&merged(marked_object.clone(), &NodePatch::drained(&marked, record, Timestamp::UNIX_EPOCH).merge()));
    assert!(drained.is_cordoned_for(&term) && drained.meta.record != marked.meta.record);
    assert_eq!(drained.owner_of_cordon(), marked.owner_of_cordon());

    let back = again(&merged(marked_object, &NodePatch::restore(&marked).merge()));
    assert!(back.meta.is_in_service());
    let was_ours = node.before_marking() == Before::Schedulable;
    assert_eq!(back.unschedulable, node.unschedulable && !was_ours, "a cordon was lost or left");
    let restored = again(&merged(object, &NodePatch::restore(&node).merge()));
    assert!(restored.meta.is_in_service() && restored.meta.status == Status::Ready);
    assert!(!restored.unschedulable || node.unschedulable);
}

fn again(object: &Value) -> Node {
    serde_json::from_value(object.clone()).expect("a Node stays one")
}
