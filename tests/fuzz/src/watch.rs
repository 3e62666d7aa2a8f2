//! The events of a watch, one after the other, and the fleet that they make. The first line is the list that they continue.

use std::collections::BTreeMap;

use reboot_manager::cluster::{Member, NodeEvent, NodeName};
use reboot_manager::fleetlock::{Fleet, Found};
use reboot_manager::kube::read_page;

pub(crate) fn run(input: &[u8]) {
    let (list, events) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let mut listed: Vec<Member> = Vec::new();
    let Ok(end) = read_page(list, &mut 0, |member| listed.push(member)) else { return };
    let mut expected: BTreeMap<NodeName, Member> = listed.iter().map(|member| (member.name.clone(), member.clone())).collect();
    if expected.len() != listed.len() {
        // No API server has two nodes of one name.
        return;
    }
    let mut fleet = Fleet::default();
    listed.into_iter().for_each(|member| fleet.add(member));
    let mut fleet = fleet.finish(&end.version);
    for event in serde_json::Deserializer::from_slice(events).into_iter::<NodeEvent>() {
        let Ok(event) = event else { return };
        let before = fleet.version();
        if fleet.apply(event.clone()).is_err() {
            assert_eq!(fleet.version(), before, "an event out of order was applied");
            break;
        }
        assert!(fleet.version() >= before, "the version went back");
        match event {
            NodeEvent::Added(member) | NodeEvent::Modified(member) => _ = expected.insert(member.name.clone(), member),
            NodeEvent::Deleted(member) => _ = expected.remove(&member.name),
            NodeEvent::Bookmark(_) => {}
            NodeEvent::Error(_) => panic!("an error was taken for an event"),
        }
        assert!(fleet.members().iter().eq(expected.values()), "the members are others");
    }
    assert!(fleet.members().iter().eq(expected.values()), "the members are others");
    for member in expected.values() {
        let Some(machine) = member.machine_id else { continue };
        match fleet.find(machine.0) {
            Found::Node(node) => assert_eq!((&node.name, node.uid.0), (&member.name, member.uid.to_string())),
            Found::Many(names) => assert!(names.len() > 1 && names.contains(&member.name)),
            Found::NoNode => panic!("a member is not found"),
        }
    }
}
