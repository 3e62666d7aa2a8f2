//! Tests of the fleet view: what events make of it, and who is found in it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{CORDON, MachineId, STATUS};

const UUID: &str = "8e5c2b1e-1c1d-4b57-8d36-0b7c6d1f0a11";

fn node(name: &str, uid: &str, machine: &str, version: u64) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string()},
        "status": {"nodeInfo": {"machineID": machine}}})
}

fn marked(name: &str, version: u64, status: &str) -> Value {
    let mut node = node(name, &format!("uid-{name}"), "", version);
    node["metadata"]["annotations"] = json!({STATUS: status});
    node
}

fn event(kind: &str, object: &Value) -> NodeEvent {
    // As text, in the order of fields in which it comes.
    serde_json::from_str(&format!(r#"{{"type":"{kind}","object":{object}}}"#)).unwrap()
}

fn fleet(nodes: impl IntoIterator<Item = Value>, version: u64) -> Fleet {
    let mut fleet = Fleet::default();
    nodes.into_iter().for_each(|node| fleet.add(serde_json::from_value(node).unwrap()));
    fleet.finish(&ResourceVersion(version.to_string()))
}

/// At version 9: `a` is rebooting, `b` is not.
fn pair() -> Fleet {
    fleet([marked("b", 5, "Ready"), marked("a", 3, "Rebooting")], 9)
}

fn rebooting(fleet: &Fleet) -> Vec<&str> {
    fleet.members().iter().filter(|member| member.has_our_annotations()).map(|member| member.name.as_str()).collect()
}

fn id(text: &str) -> HexId {
    HexId::parse(text).unwrap()
}

fn found(name: &str, uid: &str) -> Found {
    Found::Node(NodeRef { name: NodeName(name.to_owned()), uid: Uid(uid.to_owned()) })
}

#[test]
fn events_bring_the_fleet_up_to_date() {
    let mut fleet = pair();
    assert_eq!((rebooting(&fleet), fleet.version()), (vec!["a"], Some(9)));
    let bookmark = |version: &str| json!({"metadata": {"resourceVersion": version, "creationTimestamp": null}});
    let steps = [
        ("MODIFIED", marked("b", 10, "Rebooting"), vec!["a", "b"], 10),
        ("MODIFIED", marked("a", 11, "Ready"), vec!["b"], 11),
        ("BOOKMARK", bookmark("20"), vec!["b"], 20),
        ("ADDED", marked("c", 21, "Rebooting"), vec!["b", "c"], 21),
        ("DELETED", marked("b", 22, "Rebooting"), vec!["c"], 22),
        ("BOOKMARK", bookmark("22"), vec!["c"], 22),
    ];
    for (kind, object, expected, version) in steps {
        fleet.apply(event(kind, &object)).unwrap();
        assert_eq!((rebooting(&fleet), fleet.version()), (expected, Some(version)), "{kind} {object}");
    }
}

#[test]
fn an_event_that_does_not_follow_is_an_error_and_changes_nothing() {
    let gone = json!({"kind": "Status", "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410});
    let mut odd = marked("b", 1, "Rebooting");
    odd["metadata"]["resourceVersion"] = json!("x9");
    for (kind, object, says) in [
        ("MODIFIED", marked("b", 8, "Rebooting"), "came after 9"),
        ("ADDED", odd, "came after 9"),
        ("DELETED", marked("a", 8, "Rebooting"), "came after 9"),
        ("BOOKMARK", json!({"metadata": {"resourceVersion": "8"}}), "came after 9"),
        ("ERROR", gone, "410"),
    ] {
        let mut fleet = pair();
        let error = fleet.apply(event(kind, &object)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((fleet.members(), fleet.version()), (pair().members(), Some(9)));
    }
    let mut unordered = Fleet::default().finish(&ResourceVersion("abc".to_owned()));
    assert_eq!(unordered.version(), None);
    assert!(unordered.apply(event("BOOKMARK", &json!({"metadata": {"resourceVersion": "abc"}}))).is_err());
}

/// A list may be read while the watch that begins at an earlier one is being opened.
#[test]
fn events_that_a_later_list_has_shown_change_nothing() {
    let mut fleet = pair();
    assert!(!fleet.watch_from(10), "events are missing");
    assert!(fleet.watch_from(4));
    for (kind, object) in [("MODIFIED", marked("b", 5, "Rebooting")), ("DELETED", marked("a", 7, "Rebooting"))] {
        fleet.apply(event(kind, &object)).unwrap();
        assert_eq!((fleet.members(), fleet.version()), (pair().members(), Some(9)), "{kind}");
    }
    assert_eq!(fleet.apply(event("MODIFIED", &marked("b", 6, "Rebooting"))), Err(WatchError::Backwards { after: 7 }));
    fleet.apply(event("MODIFIED", &marked("b", 10, "Rebooting"))).unwrap();
    assert_eq!((rebooting(&fleet), fleet.version()), (vec!["a", "b"], Some(10)));
}

#[test]
fn a_list_read_beside_the_watch_continues_it_unless_it_is_older() {
    let watched = pair();
    assert!(!fleet([], 8).continue_watch_of(&watched) && fleet([], 9).continue_watch_of(&watched));
    let mut list = fleet([marked("c", 11, "Rebooting")], 12);
    assert!(list.continue_watch_of(&watched));
    list.apply(event("DELETED", &marked("a", 10, "Ready"))).unwrap();
    assert_eq!((rebooting(&list), list.version()), (vec!["c"], Some(12)));
    list.apply(event("MODIFIED", &marked("b", 13, "Rebooting"))).unwrap();
    assert_eq!((rebooting(&list), list.version()), (vec!["b", "c"], Some(13)));
}

#[test]
fn a_write_has_arrived_with_an_event_of_its_record() {
    let with = |name: &str, uid: &str, version: u64, term: u64, drained: Option<&str>| {
        let mut record = json!({"before": "schedulable", "lease": "l", "term": term});
        drained.iter().for_each(|at| record["drained"] = json!(at));
        let annotations = json!({STATUS: "Rebooting", CORDON: record.to_string()});
        json!({"metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string(), "annotations": annotations}})
    };
    let time = Some("2026-01-01T00:00:00Z");
    let own: NodeMeta = serde_json::from_value(with("b", "u", 11, 4, time)).unwrap();
    assert!(own.record.as_ref().is_some_and(|record| record.drained.is_some()));
    for (seen, arrived) in [
        (with("b", "u", 11, 4, time), true),
        (with("b", "u", 12, 4, time), true),
        (with("b", "u", 10, 4, time), false),
        (with("b", "u", 12, 3, time), false),
        (with("b", "u", 12, 4, None), false),
        (with("b", "u", 12, 4, Some("2026-01-01T00:00:01Z")), false),
        (with("b", "v", 12, 4, time), false),
        (with("c", "u", 12, 4, time), false),
    ] {
        let mut fleet = pair();
        assert!(!fleet.shows(&own));
        fleet.apply(event("MODIFIED", &seen)).unwrap();
        assert_eq!(fleet.shows(&own), arrived, "{seen}");
        fleet.apply(event("BOOKMARK", &json!({"metadata": {"resourceVersion": "99"}}))).unwrap();
        assert_eq!(fleet.shows(&own), arrived, "{seen}");
    }
    let unordered = NodeMeta { version: ResourceVersion("x".to_owned()), ..own };
    assert!(!fleet([with("b", "u", 11, 4, time)], 11).shows(&unordered));
}

#[test]
fn nodes_are_found_by_either_id_and_clones_are_named() {
    let shared = "dfd7882acda64c34aca76193c46f5d4e";
    let machine = |name: &str, machine: &str| node(name, &format!("uid-{name}"), machine, 1);
    let fleet =
        fleet([machine("b", shared), machine("a", shared), machine("c", "1c09ca98649c4c7abc779cd04c96812e"), machine("odd", "xyz")], 1);
    assert_eq!(fleet.find(id("978a225b3d7b40e9acd7ce9b62f68444")), found("c", "uid-c"));
    assert_eq!(fleet.find(id("1c09ca98649c4c7abc779cd04c96812e")), found("c", "uid-c"));
    let clones = Found::Many(vec![NodeName("a".to_owned()), NodeName("b".to_owned())]);
    assert_eq!(fleet.find(id(shared)), clones);
    assert_eq!(fleet.find(id("35ba2101ae3f4d45b96e9c51f461bbff")), clones);
    assert_eq!(fleet.find(id(&"1".repeat(32))), Found::NoNode);
    assert_eq!(fleet.without_machine_id(), [NodeName("odd".to_owned())]);
}

#[test]
fn a_member_takes_little_memory() {
    assert!(size_of::<Member>() <= 208, "{}", size_of::<Member>());
    let mut fleet = Fleet::default();
    for number in 0..100 {
        let mut node = node(&format!("n{number}"), UUID, &format!("{:032x}", number + 1), 1);
        node["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": format!("zone-{}", number % 3)});
        node["status"]["nodeInfo"]["osImage"] = json!("Fedora CoreOS 43");
        fleet.add(serde_json::from_value(node).unwrap());
    }
    assert_eq!(fleet.texts.len(), 4);
    let mut fleet = fleet.finish(&ResourceVersion("1".to_owned()));
    for round in 0..1000u64 {
        let mut node = node("n1", UUID, "", round + 2);
        node["status"]["nodeInfo"]["osImage"] = json!(format!("image {round}"));
        fleet.apply(event("MODIFIED", &node)).unwrap();
    }
    assert!(fleet.texts.len() <= 6, "{:?}", fleet.texts);
}

#[test]
fn ids_with_the_same_short_form_are_distinguished() {
    let ids = ["0000000b0000000a0000000000000000", "0000000a0000000b0000000000000000", "00000000000000000000000a0000000b"].map(id);
    let fleet = fleet([node("one", "u1", &ids[0].to_string(), 1), node("other", "u2", &ids[1].to_string(), 1)], 1);
    assert!(short(ids[0]) == short(ids[1]) && short(ids[0]) == short(ids[2]));
    assert_eq!(ids.map(|id| fleet.find(id)), [found("one", "u1"), found("other", "u2"), Found::NoNode]);
}

#[test]
fn similar_ids_have_different_short_forms() {
    for form in
        [|number| format!("{number:032x}"), |number| format!("{number:08x}{:024x}", 7), |number| format!("ec2{number:05x}{:024x}", 7)]
    {
        let fleet = fleet((1..2000u32).map(|number| node(&format!("n{number}"), "u", &form(number), 1)), 1);
        let alike = fleet.ids.chunk_by(|(one, _), (other, _)| one == other).map(<[_]>::len).max();
        assert!(alike <= Some(2), "{alike:?}");
    }
}

proptest! {
    /// A list and the events after it equal a later list, in members and in ids.
    #[test]
    fn a_watched_fleet_equals_a_listed_one(steps in proptest::collection::vec((0u8..6, 0u8..5, 0u8..3), 1..40), listed in 0usize..40) {
        let mut nodes: BTreeMap<String, Value> = BTreeMap::new();
        let listed = listed.min(steps.len());
        let mut kept = None;
        for (position, (name, machine, act)) in steps.into_iter().enumerate() {
            let version = position as u64 + 2;
            if position == listed {
                kept = Some(fleet(nodes.values().cloned(), version - 1));
            }
            // Machine 0 is an invalid one.
            let machine = if machine == 0 { "odd".to_owned() } else { format!("{machine:032x}") };
            let uid = if position % 2 == 0 { format!("uid-{position}") } else { UUID.to_owned() };
            let name = format!("n{name}");
            let object = node(&name, &uid, &machine, version);
            let kind = if act == 0 { "DELETED" } else if nodes.contains_key(&name) { "MODIFIED" } else { "ADDED" };
            if act == 0 { nodes.remove(&name) } else { nodes.insert(name, object.clone()) };
            let Some(kept) = &mut kept else { continue };
            kept.apply(event(kind, &object)).unwrap();
            let read = fleet(nodes.values().cloned(), version);
            prop_assert_eq!((kept.members(), &kept.ids, kept.version()), (read.members(), &read.ids, read.version()));
            for machine in 0..5u8 {
                let machine = MachineId::parse(&format!("{machine:032x}"));
                for id in machine.into_iter().flat_map(|machine| [machine.0, zincati_id(machine)]) {
                    prop_assert_eq!(kept.find(id), read.find(id));
                }
            }
        }
    }
}
