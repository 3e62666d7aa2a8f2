//! The events of a watch, one after the other, and the marks that come of them. The first line is the list they follow on.

use std::collections::{BTreeMap, BTreeSet};

use reboot_manager::cluster::{Marks, NodeEvent, NodeIdentity, NodeMark, NodeName};
use reboot_manager::kube::read_page;

pub(crate) fn run(input: &[u8]) {
    let (list, events) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let mut listed: Vec<NodeIdentity> = Vec::new();
    let Ok(end) = read_page(list, &mut listed, &mut Vec::push, &mut 0) else { return };
    let names: BTreeSet<&NodeName> = listed.iter().map(|node| &node.mark.name).collect();
    if names.len() != listed.len() {
        // No API server has two nodes of one name.
        return;
    }
    let mut expected: BTreeMap<NodeName, NodeMark> = BTreeMap::new();
    for node in &listed {
        note(&mut expected, &node.mark);
    }
    let Some(mut marks) = Marks::of_list(listed.into_iter().map(|node| node.mark), &end.version) else { return };
    for event in serde_json::Deserializer::from_slice(events).into_iter::<NodeEvent>() {
        let Ok(event) = event else { return };
        let before = marks.version();
        if marks.take(event.clone()).is_err() {
            assert_eq!(marks.version(), before, "what is out of order was taken in");
            return;
        }
        assert!(marks.version() >= before, "the version went back");
        match event {
            NodeEvent::Added(mark) | NodeEvent::Modified(mark) => note(&mut expected, &mark),
            NodeEvent::Deleted(mark) => _ = expected.remove(&mark.name),
            NodeEvent::Bookmark(_) => {}
            NodeEvent::Error(_) => panic!("an error was taken for an event"),
        }
        assert!(marks.marked().eq(expected.values()), "the marks are others");
    }
}

/// The later word on a node counts.
fn note(expected: &mut BTreeMap<NodeName, NodeMark>, mark: &NodeMark) {
    expected.remove(&mark.name);
    if mark.is_marked() {
        expected.insert(mark.name.clone(), mark.clone());
    }
}
