//! Objects of Kubernetes: a Node, the Nodes that an id may name, a Pod of a draining node, the Lease.

use jiff::Timestamp;
use reboot_manager::cluster::{Before, HexId, Host, Hosts, Lease, Member, Node, Pod, ReadyCondition, ResourceVersion};
use reboot_manager::drain::{DrainPlan, Ours, Skipped};
use reboot_manager::fleetlock::{Fleet, Found};
use reboot_manager::lock::read;
use serde_json::{Value, json};

use crate::{decode, text};

/// Time at which the slot of the draining node was taken.
const SLOT_TAKEN: &str = "2026-01-01T00:00:00Z";

/// Returns what is done with a pod of a node whose slot was taken at [`SLOT_TAKEN`].
pub(crate) fn pod(input: &Value) -> String {
    let since: Timestamp = SLOT_TAKEN.parse().unwrap();
    let plan = DrainPlan::of(&[decode::<Pod>(input)], &Ours::default(), since, None);
    let outcome = match (plan.evict.len(), plan.terminating.len(), plan.skipped.first()) {
        (1, 0, None) => "evict",
        (0, 1, None) => "wait until it has ended",
        (0, 0, Some((_, Skipped::CameBack))) => "skip: it came back",
        (0, 0, Some((_, Skipped::Daemon))) => "skip: its DaemonSet recreates it here",
        (0, 0, Some((_, Skipped::Finished))) => "skip: it has finished",
        (0, 0, Some((_, Skipped::Mirror))) => "skip: it mirrors a static pod",
        _ => return format!("{plan:?}"),
    };
    outcome.to_owned()
}

/// Returns what a Node is to the program, part by part.
pub(crate) fn node(input: &Value) -> String {
    let (node, member, host): (Node, Member, Host) = (decode(input), decode(input), decode(input));
    let mut hosts = Hosts::default();
    hosts.add(host);
    let pod: Pod = decode(&json!({"metadata": {"name": "p", "namespace": "shop"}}));
    let since = node.readiness_since.map(|since| format!(" since {since}")).unwrap_or_default();
    let parts = [
        if node.control_plane { "control plane".to_owned() } else { "worker".to_owned() },
        match node.readiness {
            ReadyCondition::Absent => "no condition Ready".to_owned(),
            ReadyCondition::NotReady => format!("not Ready{since}"),
            ReadyCondition::Ready => "Ready".to_owned(),
        },
        match (node.unschedulable, node.state_to_restore()) {
            (false, _) => "schedulable".to_owned(),
            (true, Before::Schedulable) => "cordoned for a reboot".to_owned(),
            (true, Before::Unschedulable) => "cordoned by another client".to_owned(),
        },
        member.unavailable().map_or_else(|| "available".to_owned(), |reason| format!("unavailable: {reason:?}")),
        if hosts.can_run(&pod) { "place for any pod".to_owned() } else { "no place for any pod".to_owned() },
        node.machine_id.map_or_else(|| "no machine-id".to_owned(), |machine| format!("machine-id {}", machine.0)),
    ];
    parts.join(", ")
}

/// Returns the node that `id` names among `nodes`.
pub(crate) fn fleet(input: &Value) -> String {
    let mut fleet = Fleet::default();
    input["nodes"].as_array().unwrap().iter().for_each(|node| fleet.add(decode(node)));
    let id = HexId::parse(text(input, "id")).unwrap();
    match fleet.finish(&ResourceVersion("1".to_owned())).find(id) {
        Found::Many(names) => format!("several nodes: {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        Found::Node(node) => format!("node {}", node.name),
        Found::NoNode => "no node".to_owned(),
    }
}

/// Returns the holders in a Lease.
pub(crate) fn lease(input: &Value) -> String {
    let lock = match read(&decode::<Lease>(input)) {
        Ok(lock) => lock,
        Err(error) => return error.to_string(),
    };
    let holders = lock.holders.iter().map(|holder| {
        let approved = if holder.approved.is_some() { ", approved" } else { "" };
        format!("{} in term {}{approved}", holder.node, holder.term)
    });
    let holders: Vec<String> = holders.collect();
    if holders.is_empty() { "no holder".to_owned() } else { format!("held by {}", holders.join("; ")) }
}
