//! Plan of a drain: the pods to evict, to wait for, and to skip.

use std::collections::HashMap;
use std::iter::successors;

use jiff::Timestamp;

use crate::cluster::{Hosts, Pod, PodKey, Uid};

/// Description by which this program recognises its own pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// `POD_UID`: the pod of this process.
    pub uid: Option<Uid>,
    /// `POD_NAME`: identifies the pod of this process if the UID is not set.
    pub name: Option<String>,
    /// `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `POD_SERVICE_ACCOUNT`: identifies the pods of the other replicas.
    pub service_account: Option<String>,
}

/// Reason to skip a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Created after the slot was taken, on a node that is cordoned. The pod tolerates the cordon or was bound without the scheduler, so
    /// its controller creates the next one here, too.
    CameBack,
    /// Controlled by a DaemonSet, which recreates the pod here at once: DaemonSet pods tolerate the cordon.
    Daemon,
    /// The pod of this process, which is terminating and ends after its last answer.
    Ending,
    /// All containers have ended.
    Finished,
    /// The mirror of a static pod; the API cannot end it.
    Mirror,
    /// A pod of this program, and no other node can run it.
    Own,
}

/// The pods of one node, sorted by what must be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainPlan {
    /// To be evicted now.
    pub evict: Vec<Pod>,
    /// Terminating: waited for, and not evicted again.
    pub terminating: Vec<Pod>,
    /// Pods of this program, to be evicted when no other is left; the pod of this process comes last.
    pub own: Vec<Pod>,
    /// Waited for, each with its owner: a pod that must go first. The owner still uses the pod, as a virtual machine uses the
    /// `hp-volume` pods that KubeVirt makes for its disks. The last owner is in `evict` or in `terminating`.
    pub waiting: Vec<(Pod, PodKey)>,
    /// Not evicted, each with the reason.
    pub skipped: Vec<(Pod, Skipped)>,
}

impl DrainPlan {
    /// Sorts `pods`. `since` is when the node's slot was taken, before the cordon; `other_hosts` the nodes that may run our own pods
    /// (read only if [`DrainPlan::needs_other_hosts`]).
    pub fn of(pods: &[Pod], ours: &Ours, since: Timestamp, other_hosts: Option<&Hosts>) -> Self {
        let mut plan = Self::default();
        for pod in pods {
            let own = ours.is(pod);
            match skipped(pod, own, since, other_hosts).or_else(|| ours.is_ending(pod).then_some(Skipped::Ending)) {
                Some(why) => plan.skipped.push((pod.clone(), why)),
                None if pod.ends.is_some() => plan.terminating.push(pod.clone()),
                None if own => plan.own.push(pod.clone()),
                None => plan.evict.push(pod.clone()),
            }
        }
        plan.evict.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        plan.wait_for_owners();
        plan.own.sort_unstable_by_key(|pod| (ours.is_this(pod), pod.key.clone()));
        plan
    }

    /// Reports whether only our own pods are left, so that it matters whether another node can run them.
    pub fn needs_other_hosts(pods: &[Pod], ours: &Ours, since: Timestamp) -> bool {
        let plan = Self::of(pods, ours, since, None);
        plan.evict.is_empty() && plan.terminating.is_empty() && !plan.own.is_empty()
    }

    /// Reports whether no pod is left.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Returns the number of pods that are left: to evict, waited for, or terminating.
    pub fn left(&self) -> usize {
        self.pods().count()
    }

    /// Returns the pods that are left.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        let waiting = self.waiting.iter().map(|(pod, _)| pod);
        self.evict.iter().chain(waiting).chain(&self.terminating).chain(&self.own)
    }

    /// Returns the pods that came back to the cordoned node.
    pub fn came_back(&self) -> impl Iterator<Item = &Pod> {
        self.skipped.iter().filter(|(_, why)| *why == Skipped::CameBack).map(|(pod, _)| pod)
    }

    /// Returns the pods to evict now: our own only when no other is left.
    pub fn candidates(&self) -> &[Pod] {
        if self.evict.is_empty() && self.terminating.is_empty() { self.own.get(..1).unwrap_or_default() } else { &self.evict }
    }

    /// Moves the pods whose owner is left from `evict` to `waiting`. A pod does not wait for an owner that stays, or that is our own and
    /// so waits for all others.
    fn wait_for_owners(&mut self) {
        let left: HashMap<&Uid, &Pod> = self.evict.iter().chain(&self.terminating).map(|pod| (&pod.uid, pod)).collect();
        let owner = |pod: &Pod| owning_pod(pod).and_then(|uid| left.get(uid).copied());
        let awaited = |pod: &Pod| {
            let owners = successors(owner(pod), |pod| owner(pod)).take(left.len());
            // Owners in a circle would wait for each other without end.
            let is_circle = owners.count() == left.len();
            owner(pod).filter(|_| !is_circle).map(|owner| owner.key.clone())
        };
        let owners: Vec<Option<PodKey>> = self.evict.iter().map(awaited).collect();
        for (pod, owner) in std::mem::take(&mut self.evict).into_iter().zip(owners) {
            match owner {
                Some(owner) => self.waiting.push((pod, owner)),
                None => self.evict.push(pod),
            }
        }
    }
}

impl Ours {
    /// Reports whether `pod` belongs to this process or to another replica.
    pub fn is(&self, pod: &Pod) -> bool {
        let replica = self.namespace.as_ref() == Some(&pod.key.namespace) && self.service_account.as_ref() == Some(&pod.service_account);
        self.is_this(pod) || replica
    }

    /// Reports whether this process runs in `pod`, which is terminating. If nothing else is left, this process approves as its last act,
    /// because no other replica may be running yet.
    fn is_ending(&self, pod: &Pod) -> bool {
        pod.ends.is_some() && self.is_this(pod)
    }

    /// Reports whether this process runs in `pod`.
    fn is_this(&self, pod: &Pod) -> bool {
        match &self.uid {
            Some(uid) => *uid == pod.uid,
            None => self.namespace.as_ref() == Some(&pod.key.namespace) && self.name.as_ref() == Some(&pod.key.name),
        }
    }
}

/// Returns the UID of the pod that controls this one.
fn owning_pod(pod: &Pod) -> Option<&Uid> {
    pod.controller.as_ref().filter(|owner| owner.kind == "Pod" && owner.api_version == "v1").map(|owner| &owner.uid)
}

/// Returns the reason to skip a pod, with the filters in kubectl's order. All other pods are evicted, also those with `emptyDir`
/// volumes and unmanaged ones (as `kubectl drain --delete-emptydir-data --force`).
fn skipped(pod: &Pod, own: bool, since: Timestamp, other_hosts: Option<&Hosts>) -> Option<Skipped> {
    let daemon = pod.controller.as_ref().is_some_and(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1");
    // Creation times have whole seconds: a pod of the second in which the slot was taken counts as older.
    let is_newer = pod.created.is_some_and(|created| created > since);
    if daemon {
        Some(Skipped::Daemon)
    } else if pod.mirror {
        Some(Skipped::Mirror)
    } else if pod.finished {
        Some(Skipped::Finished)
    } else if is_newer && (pod.tolerates_cordon || pod.bound_at_creation) {
        Some(Skipped::CameBack)
    } else if own && pod.ends.is_none() && other_hosts.is_some_and(|hosts| !hosts.can_run(pod)) {
        Some(Skipped::Own)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SINCE: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-01T00:00:01Z";

    fn pod(patch: &Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u", "creationTimestamp": "2025-01-01T00:00:00Z"},
            "spec": {"serviceAccountName": "default"}, "status": {"phase": "Running"}});
        for part in ["metadata", "spec", "status"] {
            for (key, value) in patch[part].as_object().cloned().unwrap_or_default() {
                pod[part][key] = value;
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    fn owned(api_version: &str, kind: &str) -> Value {
        json!({"metadata": {"ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": "o", "controller": true}]}})
    }

    fn ours() -> Ours {
        Ours { uid: Some(Uid("me".to_owned())), name: None, namespace: Some("rm".to_owned()), service_account: Some("rm".to_owned()) }
    }

    /// Returns one other node in service, without taints.
    fn other_host() -> Hosts {
        let mut hosts = Hosts::default();
        let wire = json!({"metadata": {"name": "n2"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        hosts.add(serde_json::from_value(wire).unwrap());
        hosts
    }

    #[track_caller]
    fn check(patch: &Value, other_hosts: bool, want: &str) {
        let hosts = if other_hosts { other_host() } else { Hosts::default() };
        let plan = DrainPlan::of(&[pod(patch)], &ours(), SINCE.parse().unwrap(), Some(&hosts));
        let got = match (plan.evict.len(), plan.terminating.len(), plan.own.len(), plan.skipped.first()) {
            (1, 0, 0, None) => "evict".to_owned(),
            (0, 1, 0, None) => "terminating".to_owned(),
            (0, 0, 1, None) => "own".to_owned(),
            (0, 0, 0, Some((_, why))) => format!("{why:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, want, "{patch}");
        assert_eq!(plan.is_empty(), plan.skipped.len() == 1);
    }

    #[test]
    fn each_kind_of_pod_is_evicted_or_skipped() {
        let own =
            |created: &str| json!({"metadata": {"namespace": "rm", "creationTimestamp": created}, "spec": {"serviceAccountName": "rm"}});
        let early = "2025-12-31T23:59:59Z";
        check(&json!({}), true, "evict");
        check(&owned("apps/v1", "ReplicaSet"), true, "evict");
        check(&owned("apps/v1", "DaemonSet"), true, "Daemon");
        check(&owned("apps.kruise.io/v1", "DaemonSet"), true, "evict");
        check(&json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}), true, "Mirror");
        check(&json!({"status": {"phase": "Succeeded"}}), true, "Finished");
        check(&json!({"status": {"phase": "Failed"}}), true, "Finished");
        check(&json!({"status": {"phase": "Pending"}}), true, "evict");
        check(&json!({"metadata": {"deletionTimestamp": LATE}}), true, "terminating");
        check(&own(early), true, "own");
        check(&own(early), false, "Own");
        check(&own(SINCE), true, "own");
        check(&own(LATE), true, "own");
        check(&json!({"metadata": {"uid": "me"}}), true, "own");
        check(&json!({"metadata": {"uid": "me", "deletionTimestamp": LATE}}), false, "Ending");
        check(&json!({"metadata": {"namespace": "rm"}}), true, "evict");
    }

    #[test]
    fn a_pod_that_came_back_is_skipped() {
        let tolerates = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        let bound = json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:nodeName": {}}}}]}});
        let own = json!({"metadata": {"namespace": "rm"}, "spec": {"serviceAccountName": "rm"}});
        let terminating = json!({"metadata": {"deletionTimestamp": LATE}});
        let created = |at: &str, patches: &[&Value]| {
            let mut merged = json!({"metadata": {"creationTimestamp": at}, "spec": {}});
            for (part, fields) in patches.iter().flat_map(|patch| patch.as_object().unwrap()) {
                merged[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
            merged
        };
        check(&created(LATE, &[]), true, "evict");
        for comes_back in [&tolerates, &bound] {
            check(&created(LATE, &[comes_back]), true, "CameBack");
            check(&created(LATE, &[comes_back, &owned("apps.kruise.io/v1", "DaemonSet")]), true, "CameBack");
            check(&created(LATE, &[comes_back, &terminating]), true, "CameBack");
            check(&created(LATE, &[comes_back, &own]), true, "CameBack");
            check(&created(SINCE, &[comes_back]), true, "evict");
            check(&created(SINCE, &[comes_back, &own]), true, "own");
            check(&created(LATE, &[comes_back, &owned("apps/v1", "DaemonSet")]), true, "Daemon");
        }
    }

    #[test]
    fn own_pod_is_known_by_namespace_and_name_without_a_uid() {
        let ours = Ours { name: Some("me".to_owned()), namespace: Some("rm".to_owned()), ..Ours::default() };
        for (namespace, name, is) in [("rm", "me", true), ("rm", "p", false), ("shop", "me", false), ("shop", "p", false)] {
            assert_eq!(ours.is(&pod(&json!({"metadata": {"namespace": namespace, "name": name}}))), is, "{namespace}/{name}");
        }
    }

    /// Makes a pod whose UID is its name, and whose controller is the pod with the UID `owner`.
    fn of_pod(name: &str, owner: &str) -> Pod {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": format!("name-of-{owner}"), "uid": owner, "controller": true});
        pod(&json!({"metadata": {"name": name, "uid": name, "ownerReferences": [owner]}}))
    }

    fn named(name: &str, patch: &Value) -> Pod {
        Pod { uid: Uid(name.to_owned()), key: PodKey { namespace: "shop".to_owned(), name: name.to_owned() }, ..pod(patch) }
    }

    /// Checks which pods are to be evicted, and which wait for which.
    #[track_caller]
    fn check_waiting(pods: &[Pod], evict: &[&str], waiting: &[(&str, &str)]) {
        let plan = DrainPlan::of(pods, &ours(), SINCE.parse().unwrap(), Some(&other_host()));
        let got: Vec<&str> = plan.evict.iter().map(|pod| pod.key.name.as_str()).collect();
        assert_eq!(got, evict);
        let got: Vec<(&str, &str)> = plan.waiting.iter().map(|(pod, owner)| (pod.key.name.as_str(), owner.name.as_str())).collect();
        assert_eq!(got, waiting);
        assert_eq!(plan.left() + plan.skipped.len(), pods.len());
    }

    #[test]
    fn a_pod_waits_for_the_pod_that_owns_it() {
        let (vm, disk) = (named("vm", &json!({})), of_pod("disk", "vm"));
        check_waiting(&[disk.clone(), vm.clone()], &["vm"], &[("disk", "vm")]);
        check_waiting(std::slice::from_ref(&disk), &["disk"], &[]);
        check_waiting(&[disk.clone(), named("another-vm", &json!({}))], &["another-vm", "disk"], &[]);
        let terminating = json!({"metadata": {"deletionTimestamp": LATE}});
        check_waiting(&[disk.clone(), named("vm", &terminating)], &[], &[("disk", "vm")]);
        check_waiting(&[vm.clone(), Pod { ends: Some(SINCE.parse().unwrap()), ..disk.clone() }], &["vm"], &[]);
        check_waiting(&[of_pod("part", "disk"), disk.clone(), vm.clone()], &["vm"], &[("disk", "vm"), ("part", "disk")]);
        for (api_version, kind) in [("v1", "ReplicationController"), ("example/v1", "Pod")] {
            let mut of_other = disk.clone();
            of_other.controller.as_mut().unwrap().kind = kind.to_owned();
            of_other.controller.as_mut().unwrap().api_version = api_version.to_owned();
            check_waiting(&[of_other, vm.clone()], &["disk", "vm"], &[]);
        }
    }

    #[test]
    fn a_pod_does_not_wait_for_an_owner_that_stays_or_waits_itself() {
        let disk = of_pod("disk", "vm");
        for stays in [json!({"status": {"phase": "Succeeded"}}), owned("apps/v1", "DaemonSet")] {
            check_waiting(&[named("vm", &stays), disk.clone()], &["disk"], &[]);
        }
        let own = named("vm", &json!({"spec": {"serviceAccountName": "rm"}}));
        let own = Pod { key: PodKey { namespace: "rm".to_owned(), ..own.key }, ..own };
        check_waiting(&[own, disk.clone()], &["disk"], &[]);
        check_waiting(&[of_pod("self", "self")], &["self"], &[]);
        check_waiting(&[of_pod("a", "b"), of_pod("b", "a"), of_pod("c", "a"), disk], &["a", "b", "c", "disk"], &[]);
    }

    #[test]
    fn our_own_pod_is_evicted_last() {
        let other = pod(&json!({"metadata": {"name": "z", "namespace": "rm", "uid": "peer"}, "spec": {"serviceAccountName": "rm"}}));
        let me = pod(&json!({"metadata": {"name": "a", "namespace": "rm", "uid": "me"}, "spec": {"serviceAccountName": "rm"}}));
        let (other_pod, since) = (pod(&json!({})), SINCE.parse().unwrap());
        let plan = DrainPlan::of(&[me.clone(), other.clone(), other_pod.clone()], &ours(), since, None);
        assert_eq!(plan.candidates(), [other_pod]);
        let plan = DrainPlan::of(&[me.clone(), other.clone()], &ours(), since, None);
        assert_eq!(plan.candidates(), [other]);
        assert_eq!(DrainPlan::of(std::slice::from_ref(&me), &ours(), since, None).candidates(), [me]);
    }
    #[test]
    fn only_the_terminating_pod_of_this_process_is_left_to_end_by_itself() {
        let own = |uid: &str, ends: Value| {
            pod(
                &json!({"metadata": {"name": uid, "namespace": "rm", "uid": uid, "deletionTimestamp": ends}, "spec": {"serviceAccountName": "rm"}}),
            )
        };
        for (uid, ends, left) in [("me", json!(LATE), 0), ("me", Value::Null, 1), ("peer", json!(LATE), 1)] {
            let plan = DrainPlan::of(&[own(uid, ends.clone())], &ours(), SINCE.parse().unwrap(), Some(&other_host()));
            assert_eq!(plan.left(), left, "{uid} {ends}");
        }
    }
}
