//! Which pods of a node have to go, which stay, and which only have to be waited for.

use jiff::Timestamp;

use crate::cluster::{Phase, Pod, PodKey, Uid, spoken};

/// How to tell the pods of this program from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// `POD_UID`: the pod this process runs in.
    pub uid: Option<Uid>,
    /// `POD_NAME`: the same, where the UID is not known.
    pub name: Option<String>,
    /// `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `POD_SERVICE_ACCOUNT`: the other replicas run under it too.
    pub service_account: Option<String>,
}

/// Why a pod may be on a node that reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// Created after the slot was taken, on a node that is cordoned: it tolerates the cordon or was bound without the scheduler, so whatever
    /// made it would make the next one here, too.
    CameBack,
    /// A DaemonSet would put it back at once; it tolerates the cordon.
    Daemon,
    /// Its containers have ended.
    Finished,
    /// The mirror of a static pod; the API cannot end it.
    Mirror,
    /// Our own, and no other node can run it.
    Own,
}

/// The pods of one node, sorted by what has to happen to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainPlan {
    /// To be evicted now.
    pub evict: Vec<Pod>,
    /// Terminating: waited for, and not evicted again.
    pub ending: Vec<Pod>,
    /// Our own pods, to be evicted when nothing else is left; the pod this process runs in comes last.
    pub last: Vec<Pod>,
    /// Left alone.
    pub staying: Vec<(Pod, Stays)>,
}

impl DrainPlan {
    /// Sorts `pods`. `since` is when the node's slot was taken, before the cordon; `elsewhere` whether another node can run our own pods
    /// (asked only when [`DrainPlan::asks_elsewhere`]).
    pub fn of(pods: &[Pod], ours: &Ours, since: Timestamp, elsewhere: bool) -> Self {
        let mut plan = Self::default();
        for pod in pods {
            let own = ours.is(pod);
            match stays(pod, own, since, elsewhere) {
                Some(why) => plan.staying.push((pod.clone(), why)),
                None if pod.ends.is_some() => plan.ending.push(pod.clone()),
                None if own => plan.last.push(pod.clone()),
                None => plan.evict.push(pod.clone()),
            }
        }
        plan.evict.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        plan.last.sort_unstable_by_key(|pod| (ours.is_this(pod), pod.key.clone()));
        plan
    }

    /// Whether it has come to the point where it matters if another node can run our own pods: nothing else is left.
    pub fn asks_elsewhere(pods: &[Pod], ours: &Ours, since: Timestamp) -> bool {
        let plan = Self::of(pods, ours, since, true);
        plan.evict.is_empty() && plan.ending.is_empty() && !plan.last.is_empty()
    }

    /// No pod is left that has to go.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// How many pods have yet to go.
    pub fn left(&self) -> usize {
        self.evict.len() + self.ending.len() + self.last.len()
    }

    /// The pods that came back to the cordoned node.
    pub fn came_back(&self) -> impl Iterator<Item = &Pod> {
        self.staying.iter().filter(|(_, why)| *why == Stays::CameBack).map(|(pod, _)| pod)
    }

    /// The pods to evict at this point: our own only when no other is left.
    pub fn candidates(&self) -> &[Pod] {
        if self.evict.is_empty() && self.ending.is_empty() { self.last.get(..1).unwrap_or_default() } else { &self.evict }
    }
}

impl Ours {
    /// Whether `pod` is this process's or another replica's.
    pub fn is(&self, pod: &Pod) -> bool {
        let replica = self.namespace.as_ref() == Some(&pod.key.namespace) && self.service_account.as_ref() == Some(&pod.service_account);
        self.is_this(pod) || replica
    }

    /// Whether `pod` is the one this process runs in.
    fn is_this(&self, pod: &Pod) -> bool {
        match &self.uid {
            Some(uid) => *uid == pod.uid,
            None => self.namespace.as_ref() == Some(&pod.key.namespace) && self.name.as_ref() == Some(&pod.key.name),
        }
    }
}

/// The clause that names pods that came back, to be put behind another; empty when there are none.
pub fn came_back_clause(pods: &[PodKey]) -> String {
    match pods {
        [] => String::new(),
        [one] => format!("; 1 pod came back and stays: {one}"),
        several => format!("; {} pods came back and stay: {}", several.len(), spoken(several)),
    }
}

/// The filters, in kubectl's order. kubectl also refuses pods with emptyDir volumes and pods without a controller
/// unless told otherwise; a reboot is asked for here, so they go.
fn stays(pod: &Pod, own: bool, since: Timestamp, elsewhere: bool) -> Option<Stays> {
    let daemon = pod.controller.as_ref().is_some_and(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1");
    // Creation times have whole seconds: a pod of the second in which the slot was taken counts as older.
    let is_newer = pod.created.is_some_and(|created| created > since);
    if daemon {
        Some(Stays::Daemon)
    } else if pod.mirror {
        Some(Stays::Mirror)
    } else if pod.phase == Phase::Finished {
        Some(Stays::Finished)
    } else if is_newer && (pod.tolerates_cordon || pod.bound_at_creation) {
        Some(Stays::CameBack)
    } else if own && pod.ends.is_none() && !elsewhere {
        Some(Stays::Own)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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

    #[track_caller]
    fn check(patch: &Value, elsewhere: bool, want: &str) {
        let plan = DrainPlan::of(&[pod(patch)], &ours(), SINCE.parse().unwrap(), elsewhere);
        let got = match (plan.evict.len(), plan.ending.len(), plan.last.len(), plan.staying.first()) {
            (1, 0, 0, None) => "evict".to_owned(),
            (0, 1, 0, None) => "ending".to_owned(),
            (0, 0, 1, None) => "last".to_owned(),
            (0, 0, 0, Some((_, why))) => format!("{why:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, want, "{patch}");
        assert_eq!(plan.is_empty(), plan.staying.len() == 1);
    }

    #[test]
    fn each_pod_has_its_place() {
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}});
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
        check(&ending, true, "ending");
        check(&own(early), true, "last");
        check(&own(early), false, "Own");
        check(&own(SINCE), true, "last");
        check(&own(LATE), true, "last");
        check(&json!({"metadata": {"uid": "me"}}), true, "last");
        check(&json!({"metadata": {"namespace": "rm"}}), true, "evict");
    }

    #[test]
    fn a_pod_that_came_back_stays() {
        let tolerates = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        let bound = json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:nodeName": {}}}}]}});
        let own = json!({"metadata": {"namespace": "rm"}, "spec": {"serviceAccountName": "rm"}});
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}});
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
            check(&created(LATE, &[comes_back, &ending]), true, "CameBack");
            check(&created(LATE, &[comes_back, &own]), true, "CameBack");
            check(&created(SINCE, &[comes_back]), true, "evict");
            check(&created(SINCE, &[comes_back, &own]), true, "last");
            check(&created(LATE, &[comes_back, &owned("apps/v1", "DaemonSet")]), true, "Daemon");
        }
    }

    #[test]
    fn pods_that_came_back_are_named() {
        let key = |name: &str| PodKey { namespace: "shop".to_owned(), name: name.to_owned() };
        assert_eq!(came_back_clause(&[]), "");
        assert_eq!(came_back_clause(&[key("a")]), "; 1 pod came back and stays: shop/a");
        let several = ["a", "b", "c", "d"].map(key);
        assert_eq!(came_back_clause(&several), "; 4 pods came back and stay: shop/a, shop/b and 2 more");
    }

    #[test]
    fn without_a_uid_our_own_pod_is_known_by_namespace_and_name() {
        let ours = Ours { name: Some("me".to_owned()), namespace: Some("rm".to_owned()), ..Ours::default() };
        for (namespace, name, is) in [("rm", "me", true), ("rm", "p", false), ("shop", "me", false), ("shop", "p", false)] {
            assert_eq!(ours.is(&pod(&json!({"metadata": {"namespace": namespace, "name": name}}))), is, "{namespace}/{name}");
        }
    }

    #[test]
    fn a_terminating_pod_of_ours_is_waited_for() {
        let patch = json!({"metadata": {"uid": "me", "deletionTimestamp": "2026-01-01T00:00:30Z"}});
        check(&patch, false, "ending");
    }

    #[test]
    fn our_own_pod_is_the_very_last() {
        let other = pod(&json!({"metadata": {"name": "z", "namespace": "rm", "uid": "peer"}, "spec": {"serviceAccountName": "rm"}}));
        let me = pod(&json!({"metadata": {"name": "a", "namespace": "rm", "uid": "me"}, "spec": {"serviceAccountName": "rm"}}));
        let (stranger, since) = (pod(&json!({})), SINCE.parse().unwrap());
        let plan = DrainPlan::of(&[me.clone(), other.clone(), stranger.clone()], &ours(), since, true);
        assert_eq!(plan.candidates(), [stranger]);
        let plan = DrainPlan::of(&[me.clone(), other.clone()], &ours(), since, true);
        assert_eq!(plan.candidates(), [other]);
        assert_eq!(DrainPlan::of(std::slice::from_ref(&me), &ours(), since, true).candidates(), [me]);
    }

    proptest! {
        /// No pod is lost or counted twice.
        #[test]
        fn every_pod_is_in_one_place(kinds in proptest::collection::vec(0u8..6, 0..30), elsewhere: bool) {
            let pods: Vec<Pod> = kinds.iter().map(|kind| pod(&match kind {
                0 => owned("apps/v1", "DaemonSet"),
                1 => json!({"status": {"phase": "Succeeded"}}),
                2 => json!({"metadata": {"deletionTimestamp": SINCE}}),
                3 => json!({"metadata": {"uid": "me"}}),
                4 => json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": ""}}}),
                _ => json!({}),
            })).collect();
            let plan = DrainPlan::of(&pods, &ours(), SINCE.parse().unwrap(), elsewhere);
            prop_assert_eq!(plan.left() + plan.staying.len(), pods.len());
            prop_assert_eq!(plan.is_empty(), plan.candidates().is_empty() && plan.ending.is_empty());
        }
    }
}
