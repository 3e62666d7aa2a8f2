//! Slots and their holders as a value. Each change makes a new value.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Deferral, DrainReport};
use crate::cluster::{HexId, Node, NodeName, Uid};
use crate::fleetlock::{GroupName, zincati_id};

/// All slots of all groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockState {
    /// Number of the latest term; never decreases.
    pub last_term: u64,
    /// Holders of slots, in the order in which the slots were taken.
    pub holders: Vec<Holder>,
    /// Nodes that gave their slots back and may not take one again yet. Some have ended: their number makes the next one longer.
    pub deferrals: Vec<Deferral>,
    /// Time at which a slot was freed last while no other was free.
    pub freed: Option<Timestamp>,
    /// Nodes that have waited since before this time did not take a slot that was free for long. They no longer hold up other nodes.
    pub passed: Option<Timestamp>,
    /// `--slots` of the replica that wrote the lock last. Replicas with different numbers are a mistake.
    pub slots: Option<usize>,
    /// Fields of a later version, kept as they are.
    pub extra: Map<String, Value>,
}

/// A node that holds a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Holder {
    /// The node's name.
    pub node: NodeName,
    /// The node's UID: a node that was recreated under the same name is another one.
    pub uid: Uid,
    /// The group in the request.
    pub group: GroupName,
    /// The number of its term.
    pub term: u64,
    /// Time at which the slot was taken.
    pub since: Timestamp,
    /// The node had a control-plane label when the slot was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control_plane: bool,
    /// Zincati's id of the machine, which identifies it if its Node is deleted and registered under another name. The machine-id itself
    /// must not be published (machine-id(5)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<HexId>,
    /// `status.nodeInfo.osImage` when the slot was taken; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os_image: String,
    /// The node took its slot while the boot in its Node may have been an earlier one, because its kubelet had not reported since the
    /// check-in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
    /// The last approval. The node may reboot at any moment after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
    /// Time of the check-in after the reboot. The slot may be freed after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_in: Option<Timestamp>,
    /// No check-in came for long after the reboot, and the program recorded one instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_checked_in: bool,
    /// Time at which the Node was first found missing after an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// Time at which the kubelet was first found in another boot after the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Timestamp>,
    /// Last time at which a request of the node is known to have waited for its answer; `None`: when the slot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Timestamp>,
    /// State of the drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReport>,
    /// Fields of a later version, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Approved {
    /// Time of the approval.
    pub at: Timestamp,
    /// The node's bootID at that time. Another one proves a reboot.
    pub boot: String,
    /// Time of the first approval in this boot and term; `None`: [`Self::at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The kubelet may not have reported the boot in which the agent asked. Another bootID then does not prove a reboot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

impl Approved {
    /// Returns the time of the first approval in this boot and term.
    pub fn first(&self) -> Timestamp {
        self.first.unwrap_or(self.at)
    }
}

impl LockState {
    /// Returns the holder with this UID.
    pub fn holder(&self, uid: &Uid) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.uid == *uid)
    }

    /// Returns the holders with other names than `node`. A holder of that name with another UID is an earlier Node of this name.
    pub fn others(&self, node: &NodeName) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(|holder| holder.node != *node)
    }

    /// Gives `node` a slot under a new term, which replaces any slot of that name.
    pub fn take(&self, node: &NodeName, uid: &Uid, group: &GroupName, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.last_term += 1;
        let is_unreported = |holder: &Holder| holder.uid == *uid && (holder.unreported || holder.checked_in.is_some());
        let unreported = next.holders.iter().any(is_unreported);
        next.holders.retain(|holder| holder.node != *node);
        next.holders.push(Holder {
            node: node.clone(),
            uid: uid.clone(),
            group: group.clone(),
            term: next.last_term,
            since: now,
            control_plane: false,
            machine: None,
            os_image: String::new(),
            unreported,
            approved: None,
            checked_in: None,
            never_checked_in: false,
            missing_since: None,
            returned: None,
            asked: None,
            drain: None,
            extra: Map::new(),
        });
        next
    }

    /// Records the role, the machine and the OS image of `node`, which holds a slot.
    pub fn describe(&self, node: &Node) -> Self {
        self.with(&node.meta.uid, |holder| {
            holder.control_plane = node.control_plane;
            holder.machine = node.machine_id.map(zincati_id);
            holder.os_image.clone_from(&node.os_image);
        })
    }

    /// Records that the reboot of `uid` is approved. Earlier check-ins no longer count.
    pub fn approve(&self, uid: &Uid, boot: &str, now: Timestamp) -> Self {
        self.with(uid, |holder| {
            let before = holder.approved.as_ref().filter(|before| before.boot == boot && holder.checked_in.is_none());
            let first = before.map(Approved::first);
            let unsure = holder.unreported;
            holder.approved = Some(Approved { at: now, boot: boot.to_owned(), first, unsure });
            (holder.checked_in, holder.never_checked_in, holder.returned, holder.drain) = (None, false, None, None);
        })
    }

    /// Records that the bootID of the approval of `uid` may be that of an earlier boot.
    pub fn doubt_boot(&self, uid: &Uid) -> Self {
        self.with(uid, |holder| holder.approved.iter_mut().for_each(|approved| approved.unsure = true))
    }

    /// Records that the kubelet of `uid` has reported the boot in which the node took its slot.
    pub fn trust_boot(&self, uid: &Uid) -> Self {
        self.with(uid, |holder| holder.unreported = false)
    }

    /// Records that a request of `uid` waits for its answer.
    pub fn ask(&self, uid: &Uid, now: Timestamp) -> Self {
        self.with(uid, |holder| holder.asked = Some(now))
    }

    /// Records that the kubelet of `uid` was found in another boot.
    pub fn back(&self, uid: &Uid, now: Timestamp) -> Self {
        self.with(uid, |holder| holder.returned = Some(now))
    }

    /// Records the state of the drain of `uid`. `held`: a request of the node waits for it.
    pub fn report(&self, uid: &Uid, report: DrainReport, held: bool) -> Self {
        self.with(uid, |holder| {
            holder.asked = if held { Some(report.at) } else { holder.asked };
            holder.drain = Some(report);
        })
    }

    /// Records that `uid` has checked in.
    pub fn check_in(&self, uid: &Uid, now: Timestamp) -> Self {
        self.with(uid, |holder| (holder.checked_in, holder.never_checked_in) = (Some(now), false))
    }

    /// Records a check-in of `uid`, of which none came.
    pub fn never_checked_in(&self, uid: &Uid, now: Timestamp) -> Self {
        self.with(uid, |holder| (holder.checked_in, holder.never_checked_in) = (Some(now), true))
    }

    /// Records since when the Node `uid` is missing; `None`: it exists again.
    pub fn missing(&self, uid: &Uid, since: Option<Timestamp>) -> Self {
        self.with(uid, |holder| holder.missing_since = since)
    }

    /// Frees the slot of `uid`.
    pub fn free(&self, uid: &Uid, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.holders.retain(|holder| holder.uid != *uid);
        // While a slot is free already, its nodes have their turns since an earlier time.
        if self.slots.is_none_or(|slots| self.holders.len() >= slots) {
            next.freed = Some(now);
        }
        next
    }

    fn with(&self, uid: &Uid, change: impl FnOnce(&mut Holder)) -> Self {
        let mut next = self.clone();
        if let Some(holder) = next.holders.iter_mut().find(|holder| holder.uid == *uid) {
            change(holder);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn group() -> GroupName {
        GroupName::parse("default").unwrap()
    }

    #[test]
    fn a_recreated_node_takes_the_slot_of_its_name() {
        let name = NodeName("a".to_owned());
        let old = LockState::default().take(&name, &Uid("1".to_owned()), &group(), now(1));
        assert_eq!(old.others(&name).next(), None);
        let new = old.take(&name, &Uid("2".to_owned()), &group(), now(2));
        assert_eq!(new.holders.len(), 1);
        assert!(new.holder(&Uid("1".to_owned())).is_none());
    }

    #[test]
    fn an_approval_undoes_an_earlier_check_in() {
        let uid = Uid("1".to_owned());
        let held = LockState::default().take(&NodeName("a".to_owned()), &uid, &group(), now(1));
        let lock = held.check_in(&uid, now(2)).approve(&uid, "boot", now(3));
        assert_eq!(lock.holder(&uid).unwrap().checked_in, None);
    }

    /// A report of the kubelet is missing only after a check-in, and only for the same Node.
    #[test]
    fn a_new_term_after_a_check_in_is_unreported() {
        let (name, uid) = (NodeName("a".to_owned()), |uid: &str| Uid(uid.to_owned()));
        let held = LockState::default().take(&name, &uid("1"), &group(), now(1));
        let is_unreported = |lock: &LockState, of: &str| lock.take(&name, &uid(of), &group(), now(3)).holder(&uid(of)).unwrap().unreported;
        let checked_in = held.check_in(&uid("1"), now(2));
        assert_eq!([is_unreported(&held, "1"), is_unreported(&checked_in, "1"), is_unreported(&checked_in, "2")], [false, true, false]);
    }

    #[test]
    fn the_first_approval_is_of_the_same_boot_and_from_before_a_check_in() {
        let uid = Uid("1".to_owned());
        let held = LockState::default().take(&NodeName("a".to_owned()), &uid, &group(), now(1)).approve(&uid, "boot", now(2));
        let first = |lock: &LockState, boot| lock.approve(&uid, boot, now(9)).holders[0].approved.as_ref().unwrap().first();
        assert_eq!([first(&held, "boot"), first(&held, "other"), first(&held.check_in(&uid, now(3)), "boot")], [now(2), now(9), now(9)]);
    }

    #[test]
    fn a_slot_is_free_since_the_first_of_them_was_freed() {
        let take = |lock: LockState, uid: &str| lock.take(&NodeName(uid.to_owned()), &Uid(uid.to_owned()), &group(), now(1));
        let taken = LockState { slots: Some(2), ..["1", "2"].into_iter().fold(LockState::default(), take) };
        let one = taken.free(&Uid("1".to_owned()), now(10));
        assert_eq!((one.freed, one.free(&Uid("2".to_owned()), now(20)).freed), (Some(now(10)), Some(now(10))));
        assert_eq!(LockState { slots: None, ..one }.free(&Uid("2".to_owned()), now(20)).freed, Some(now(20)));
    }

    #[test]
    fn a_change_of_a_holder_changes_no_other() {
        let (name, uid) = (|name: &str| NodeName(name.to_owned()), |uid: &str| Uid(uid.to_owned()));
        let lock = LockState::default().take(&name("a"), &uid("1"), &group(), now(1)).take(&name("b"), &uid("2"), &group(), now(1));
        let wire = serde_json::json!({"metadata": {"name": "a", "uid": "1", "labels": {"node-role.kubernetes.io/etcd": ""}},
            "status": {"nodeInfo": {"machineID": "dfd7882acda64c34aca76193c46f5d4e"}}});
        let changed = lock.describe(&serde_json::from_value(wire).unwrap()).missing(&uid("1"), Some(now(2)));
        let first = changed.holder(&uid("1")).unwrap();
        assert_eq!((first.control_plane, first.missing_since), (true, Some(now(2))));
        assert_eq!(first.machine.unwrap().to_string(), "35ba2101ae3f4d45b96e9c51f461bbff", "Zincati's id, not the machine-id");
        assert_eq!(changed.holder(&uid("2")), lock.holder(&uid("2")));
        let found = changed.missing(&uid("1"), None);
        assert_eq!(found.holder(&uid("1")).unwrap().missing_since, None);
        assert_eq!(found.last_term, 2);
    }

    proptest! {
        /// In any order of changes: one slot a name, and terms that only grow.
        #[test]
        fn names_hold_one_slot_and_terms_grow(steps in proptest::collection::vec((0u8..4, 0u8..5, 0u8..3), 0..40)) {
            let mut lock = LockState::default();
            for (act, node, generation) in steps {
                let name = NodeName(format!("n{node}"));
                let uid = Uid(format!("n{node}-{generation}"));
                let next = match act {
                    0 => lock.take(&name, &uid, &group(), now(1)),
                    1 => lock.approve(&uid, "b", now(2)),
                    2 => lock.check_in(&uid, now(3)),
                    _ => lock.free(&uid, now(4)),
                };
                prop_assert!(next.last_term >= lock.last_term);
                prop_assert!(act == 0 || next.holders.len() <= lock.holders.len());
                let mut names: Vec<_> = next.holders.iter().map(|holder| &holder.node).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), next.holders.len());
                lock = next;
            }
        }
    }
}
