//! Checks before a free slot is taken: a back-off of the node, its own kubelet, and the other nodes of the control plane.

use jiff::{SignedDuration, Timestamp};

use super::{Caller, FleetFacts, Lock, Now, Observed, Outcome, Question, Reading, Rules, Step};
use crate::cluster::{CORDON, Member, Node, NodeName, ReadyCondition, STATUS, Unavailable, join_names};
use crate::fleetlock::Kind;
use crate::lock::{AHEAD_MAX, Holder, Times};

/// Time after which a node that is not Ready takes no slot. Without its kubelet its pods do not end, so it cannot be drained and would
/// block the slot.
const NOT_READY_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Refuses a node that must not take a slot now because of its own state; `None` if it may.
pub(super) fn own(caller: &Caller, lock: &Reading<Lock>, node: &Node, now: Now) -> Option<Step> {
    deferred(caller, &lock.value, now.clock).or_else(|| not_ready(node, now.clock))
}

/// Returns the next step of a control-plane node that must not take a slot while another one is unavailable; `None` if it may.
pub(super) fn control_plane(caller: &Caller, observed: &Observed, lock: &Reading<Lock>, node: &Node, rules: &Rules) -> Option<Step> {
    if !is_protected(node, rules) {
        return None;
    }
    match observed.newest_fleet() {
        None => Some(Step::Read(Question::FleetCached)),
        Some(fleet) => control_plane_refusal(&caller.node, &unavailable(&caller.node, &fleet.value, &lock.value, &rules.times, |_| true)),
    }
}

fn deferred(caller: &Caller, lock: &Lock, now: Timestamp) -> Option<Step> {
    let deferral = lock.state.deferral(&caller.node, now)?;
    let message = format!("node {} must wait until {:.0}: {deferral}", caller.node, deferral.until);
    Some(Step::Answer(Outcome::refused(Kind::Deferred, message)))
}

/// Reports whether every other control-plane node is available, so that a drained holder may be approved. Of two holders the one with
/// the later term yields.
pub(super) fn control_plane_stays_up(
    caller: &Caller,
    fleet: &FleetFacts,
    lock: &Lock,
    holder: &Holder,
    node: &Node,
    rules: &Rules,
) -> bool {
    let is_earlier = |other: &Holder| other.approved.is_some() || other.term < holder.term;
    !is_protected(node, rules) || unavailable(&caller.node, fleet, lock, &rules.times, is_earlier).is_empty()
}

fn is_protected(node: &Node, rules: &Rules) -> bool {
    rules.protect_control_plane && node.control_plane
}

fn not_ready(node: &Node, now: Timestamp) -> Option<Step> {
    let is_short = node.readiness_since.is_some_and(|since| (-AHEAD_MAX..NOT_READY_MAX).contains(&now.duration_since(since)));
    if node.readiness != ReadyCondition::NotReady || is_short {
        return None;
    }
    let (name, since) = (node.name(), node.readiness_since.map(|since| format!(" since {since:.0}")).unwrap_or_default());
    let message = format!(
        "node {name} must wait: it has not been Ready{since}, so its pods may not be able to end; see `kubectl describe node {name}`"
    );
    Some(Step::Answer(Outcome::refused(Kind::NodeNotReady, message)))
}

/// Lists the other control-plane nodes that are unavailable, each with the reason. A holder of a slot is unavailable if it `counts`; a
/// holder whose Node is deleted is known from the Lease.
fn unavailable(own: &NodeName, fleet: &FleetFacts, lock: &Lock, times: &Times, counts: impl Fn(&Holder) -> bool) -> Vec<String> {
    let nodes = || fleet.members.iter().filter(|member| member.control_plane);
    let is_in_plane = |holder: &&Holder| holder.control_plane || nodes().any(|node| node.name == holder.node);
    let holders: Vec<&Holder> = lock.state.others(own).filter(is_in_plane).collect();
    let held = holders
        .iter()
        .filter(|holder| counts(holder))
        .map(|holder| format!("{} holds a slot since {:.0} ({})", holder.node, holder.since, fleet.state_of(holder, times)));
    let is_holder = |node: &&Member| holders.iter().any(|holder| holder.node == node.name);
    let missing = nodes().filter(|node| node.name != *own && !is_holder(node)).filter_map(|node| {
        let name = &node.name;
        Some(match lock.unavailable(node)? {
            Unavailable::Cordoned => format!("{name} is cordoned (`kubectl uncordon {name}` puts it back in service)"),
            Unavailable::NotReady => format!("{name} is not Ready (see `kubectl describe node {name}`)"),
            Unavailable::Rebooting => {
                let cordon = if node.record.is_some() { format!(" {CORDON}-") } else { String::new() };
                format!("{name} is marked Rebooting (once it is back: `kubectl annotate node {name} --overwrite {STATUS}=Ready{cordon}`)")
            }
        })
    });
    held.chain(missing).collect()
}

fn control_plane_refusal(own: &NodeName, unavailable: &[String]) -> Option<Step> {
    if unavailable.is_empty() {
        return None;
    }
    let message = format!("node {own} must wait: at most one control-plane node may be unavailable, and {}", join_names(unavailable));
    Some(Step::Answer(Outcome::refused(Kind::ControlPlaneUnavailable, message)))
}
