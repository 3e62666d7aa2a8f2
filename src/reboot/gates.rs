//! Gates in front of a free slot: the node's own kubelet, and the other nodes of the control plane.

use jiff::{SignedDuration, Timestamp};

use super::{Caller, Lock, Now, Observed, Outcome, Question, Rules, Seen, Step};
use crate::cluster::{ControlPlaneNode, Node, NodeName, Readiness, Unavailable, spoken};
use crate::fleetlock::Kind;
use crate::lock::Holder;

/// A node whose kubelet does not report is not drained by anyone: its pods cannot end, and it would hold the slot for nothing.
const NOT_READY_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The next step of a node that would take a slot but may not, or not yet. `None`: nothing is in its way.
pub(super) fn closed(caller: &Caller, seen: &Observed, lock: &Seen<Lock>, node: &Node, rules: &Rules, now: Now) -> Option<Step> {
    not_ready(node, now.clock).or_else(|| {
        if !is_protected(node, rules) {
            return None;
        }
        match seen.control_plane.as_ref().filter(|read| read.tick > lock.tick) {
            None => Some(Step::Look(Question::ControlPlane)),
            Some(read) => control_plane_refusal(&caller.node, &unavailable(&caller.node, &read.value, &lock.value, |_| true)),
        }
    })
}

/// A holder that is drained, and before it is approved: whether another control-plane node has become unavailable meanwhile.
/// `Err`: that has to be read, and must be newer than the list of pods. Of two that hold slots the later one gives way.
pub(super) fn control_plane_stays_up(
    caller: &Caller,
    seen: &Observed,
    lock: &Seen<Lock>,
    holder: &Holder,
    rules: &Rules,
) -> Result<bool, Question> {
    let node = seen.node.as_ref().and_then(|node| node.value.as_ref());
    if holder.approved.is_some() || !node.is_some_and(|node| is_protected(node, rules)) {
        return Ok(true);
    }
    let pods = seen.pods.as_ref().map_or(0, |pods| pods.tick);
    let read = seen.control_plane.as_ref().filter(|read| read.tick > pods).ok_or(Question::ControlPlane)?;
    let is_earlier = |other: &Holder| other.approved.is_some() || other.term < holder.term;
    Ok(unavailable(&caller.node, &read.value, &lock.value, is_earlier).is_empty())
}

fn is_protected(node: &Node, rules: &Rules) -> bool {
    rules.protect_control_plane && node.control_plane
}

fn not_ready(node: &Node, now: Timestamp) -> Option<Step> {
    let is_short = node.readiness_since.is_some_and(|since| now.duration_since(since) < NOT_READY_MAX);
    if node.readiness != Readiness::NotReady || is_short {
        return None;
    }
    let (name, since) = (node.name(), node.readiness_since.map(|since| format!(" since {since:.0}")).unwrap_or_default());
    let message = format!(
        "node {name} has to wait: it has not been Ready{since}, so its pods may not be able to end; see `kubectl describe node {name}`"
    );
    Some(Step::Answer(Outcome::refused(Kind::NodeNotReady, message)))
}

/// The other control-plane nodes that are unavailable, each with the reason. A holder of a slot is, if it `counts`; one whose
/// Node is deleted is known from the Lease.
fn unavailable(own: &NodeName, nodes: &[ControlPlaneNode], lock: &Lock, counts: impl Fn(&Holder) -> bool) -> Vec<String> {
    let is_in_plane = |holder: &&Holder| holder.control_plane || nodes.iter().any(|node| node.name == holder.node);
    let holders: Vec<&Holder> = lock.state.others(own).filter(is_in_plane).collect();
    let held =
        holders.iter().filter(|holder| counts(holder)).map(|holder| format!("{} holds a slot since {:.0}", holder.node, holder.since));
    let is_holder = |node: &&ControlPlaneNode| holders.iter().any(|holder| holder.node == node.name);
    let missing = nodes.iter().filter(|node| node.name != *own && !is_holder(node)).filter_map(|node| {
        let why = match node.unavailable? {
            Unavailable::Cordoned => "is cordoned",
            Unavailable::NotReady => "is not Ready",
            Unavailable::Rebooting => "is marked Rebooting",
        };
        Some(format!("{} {why}", node.name))
    });
    held.chain(missing).collect()
}

fn control_plane_refusal(own: &NodeName, unavailable: &[String]) -> Option<Step> {
    if unavailable.is_empty() {
        return None;
    }
    let message = format!(
        "node {own} has to wait: at most one control-plane node may be unavailable, and {}; \
         make that node Ready and schedulable (kubectl uncordon)",
        spoken(unavailable)
    );
    Some(Step::Answer(Outcome::refused(Kind::ControlPlaneUnavailable, message)))
}
