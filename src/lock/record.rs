//! The lock in the Lease: one annotation holds it as JSON, `spec.holderIdentity` the names for `kubectl get lease`. Fields that this
//! version does not know are kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Deferral, Holder, LockState};
use crate::cluster::{Lease, ResourceVersion};

/// The annotation on the Lease.
pub const HOLDERS: &str = "rebootmanager/holders";

/// Format that this program writes. A newer one is left unchanged.
const FORM: u32 = 1;

/// Length of the annotation, in bytes, above which details for people are left out. Kubernetes refuses an object whose annotations have
/// more than 256 KiB (`TotalAnnotationSizeLimitB`), and then no slot could be taken or freed.
const DETAILED_MAX: usize = 160 * 1024;

/// Advice for an annotation that cannot be read.
const REPAIR: &str = "put it back as it was; \
    or once no node is rebooting, scale reboot-manager to 0, kubectl delete lease reboot-manager, and scale it back (docs/lock.md)";

/// The annotation cannot be read. Nothing is approved meanwhile, because any node may hold a slot.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// Invalid JSON.
    #[error("the annotation {HOLDERS} of the Lease reboot-manager is not a lock; {REPAIR}")]
    Json(#[source] serde_json::Error),
    /// Absent, although this program writes it whenever it writes the Lease.
    #[error("the Lease reboot-manager has no annotation {HOLDERS}, which holds the lock; {REPAIR}")]
    Missing,
    /// Written by a later version.
    #[error("the annotation {HOLDERS} of the Lease has form {0}; this version of reboot-manager reads form {FORM}: upgrade it")]
    Newer(u32),
}

/// A JSON merge patch of the Lease.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeasePatch(pub Value);

/// Reads the lock. A Lease without the annotation is an error, never an empty lock.
pub fn read(lease: &Lease) -> Result<LockState, Unreadable> {
    let text = lease.annotations.get(HOLDERS).ok_or(Unreadable::Missing)?;
    let form: WireForm = serde_json::from_str(text).map_err(Unreadable::Json)?;
    if form.form > FORM {
        return Err(Unreadable::Newer(form.form));
    }
    let wire: WireLock = serde_json::from_str(text).map_err(Unreadable::Json)?;
    let WireLock { form: _, last_term, holders, deferrals, freed, passed, slots, extra } = wire;
    Ok(LockState { last_term, holders, deferrals, freed, passed, slots, extra })
}

/// Creates the patch that writes the lock over the version `basis`; `None`: the Lease does not exist yet.
pub fn patch(lock: &LockState, basis: Option<&ResourceVersion>, now: Timestamp) -> LeasePatch {
    let text = text(lock.clone());
    let text = if text.len() > DETAILED_MAX { self::text(lock.clone().without_details()) } else { text };
    let names: Vec<&str> = lock.holders.iter().map(|holder| holder.node.as_str()).collect();
    let identity = if names.is_empty() { Value::Null } else { Value::String(names.join(",")) };
    let mut metadata = serde_json::json!({"annotations": {HOLDERS: text}});
    if let Some(version) = basis {
        metadata["resourceVersion"] = Value::String(version.0.clone());
    }
    let renewed = format!("{now:.6}");
    LeasePatch(serde_json::json!({"metadata": metadata, "spec": {"holderIdentity": identity, "renewTime": renewed}}))
}

fn text(lock: LockState) -> String {
    let LockState { last_term, holders, deferrals, freed, passed, slots, extra } = lock;
    let wire = WireLock { form: FORM, last_term, holders, deferrals, freed, passed, slots, extra };
    // Strings, numbers and maps with string keys always have a JSON form.
    serde_json::to_string(&wire).unwrap_or_default()
}

impl LockState {
    /// Leaves out what only people read: which pods block each drain.
    fn without_details(mut self) -> Self {
        self.holders.iter_mut().filter_map(|holder| holder.drain.as_mut()?.blocked.as_mut()).for_each(|blocked| blocked.by.clear());
        self.deferrals.iter_mut().for_each(|deferral| deferral.detail.clear());
        self
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object with form, lastTerm and holders")]
struct WireForm {
    form: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with form, lastTerm and holders")]
struct WireLock {
    form: u32,
    last_term: u64,
    holders: Vec<Holder>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deferrals: Vec<Deferral>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freed: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passed: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slots: Option<usize>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::{HexId, LeaseVersion, NodeName, Uid};
    use crate::fleetlock::GroupName;
    use crate::lock::{BlockedDrain, DeferReason, DrainReport, SLOTS_MAX};

    fn lease(text: Option<&str>) -> Lease {
        let version = LeaseVersion { uid: Uid("u".to_owned()), version: ResourceVersion("7".to_owned()) };
        let annotations = text.map(|text| (HOLDERS.to_owned(), text.to_owned())).into_iter().collect::<BTreeMap<_, _>>();
        Lease { version, annotations }
    }

    #[test]
    fn the_largest_lock_fits_into_the_annotations_of_a_lease() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let group = GroupName::parse(&"g".repeat(63)).unwrap();
        // Names are as long as Kubernetes allows.
        let name = |number: usize| NodeName(format!("{number:0253}"));
        let blocked = BlockedDrain { since: now, by: "x".repeat(300) };
        let report = DrainReport { blocked: Some(blocked), idle: 1_000, ..DrainReport::first(&"r".repeat(253), now) };
        let take = |lock: LockState, number: usize| {
            let uid = Uid(format!("{number:036}"));
            let mut taken = lock.take(&name(number), &uid, &group, now).report(&uid, report.clone(), true);
            let Some(holder) = taken.holders.last_mut() else { return taken };
            (holder.control_plane, holder.unreported, holder.machine) = (true, true, HexId::parse(&"1".repeat(32)));
            holder.os_image = "Fedora CoreOS 44.20260913.3.0 (a long name of a release)".to_owned();
            taken
        };
        let approve = |lock: LockState, number: usize| {
            let uid = Uid(format!("{number:036}"));
            lock.approve(&uid, &"b".repeat(36), now).back(&uid, now).missing(&uid, Some(now)).never_checked_in(&uid, now)
        };
        let deferral = |number| {
            let (reason, detail) = (DeferReason::UpdateNotApplied, "x".repeat(250));
            Deferral { node: name(number), reason, count: 1_000, since: now, until: now, detail }
        };
        let annotation = |slots: usize, is_approved| {
            let mut lock = (0..slots).fold(LockState::default(), take);
            if is_approved {
                lock = (0..slots).fold(lock, approve);
            }
            lock.deferrals = (0..100).map(deferral).collect();
            let LeasePatch(patch) = patch(&lock, None, now);
            patch["metadata"]["annotations"][HOLDERS].as_str().unwrap().to_owned()
        };
        let slots = usize::from(SLOTS_MAX);
        for is_approved in [false, true] {
            let text = annotation(slots, is_approved);
            assert!(text.len() < 250 * 1024, "{}, {is_approved}", text.len());
            let lock = read(&lease(Some(&text))).unwrap();
            assert_eq!((lock.holders.len(), lock.deferrals.len(), lock.last_term), (slots, 100, u64::from(SLOTS_MAX)));
        }
        assert!(annotation(10, false).contains("xxx") && !annotation(slots, false).contains("xxx"));
    }

    #[test]
    fn details_are_left_out_above_the_limit_alone() {
        let now = Timestamp::UNIX_EPOCH;
        let detailed = |length| {
            let (reason, detail) = (DeferReason::NotReady, "x".repeat(length));
            let deferral = Deferral { node: NodeName("a".to_owned()), reason, count: 1, since: now, until: now, detail };
            LockState { deferrals: vec![deferral], ..LockState::default() }
        };
        // An empty detail is not written.
        let rest = text(detailed(1)).len() - 1;
        let written = |length| patch(&detailed(length), None, now).0["metadata"]["annotations"][HOLDERS].as_str().unwrap().len();
        assert_eq!(written(DETAILED_MAX - rest), DETAILED_MAX);
        assert!(written(DETAILED_MAX - rest + 1) < rest);
    }

    #[test]
    fn the_lock_reads_back_as_it_is_written() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let group = GroupName::parse("W.1").unwrap();
        let lock = LockState::default()
            .take(&NodeName("b".to_owned()), &Uid("1".to_owned()), &group, now)
            .take(&NodeName("a".to_owned()), &Uid("2".to_owned()), &group, now)
            .approve(&Uid("1".to_owned()), "boot", now)
            .check_in(&Uid("2".to_owned()), now);
        let LeasePatch(patch) = patch(&lock, Some(&ResourceVersion("7".to_owned())), now);
        assert_eq!(patch["spec"]["holderIdentity"], "b,a");
        assert_eq!(patch["spec"]["renewTime"], "2026-09-21T14:13:20.000000Z");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let text = patch["metadata"]["annotations"][HOLDERS].as_str().unwrap();
        assert_eq!(read(&lease(Some(text))).unwrap(), lock);
    }

    #[test]
    fn an_empty_lock_has_no_holder_identity() {
        let LeasePatch(patch) = patch(&LockState::default(), None, Timestamp::UNIX_EPOCH);
        assert_eq!(patch["spec"]["holderIdentity"], Value::Null);
        assert!(patch["metadata"].get("resourceVersion").is_none());
    }

    #[test]
    fn fields_of_a_later_version_are_kept() {
        let text = r#"{"form":1,"lastTerm":3,"queue":["x"],"holders":[{"node":"a","uid":"1","group":"g","term":3,
            "since":"2026-01-01T00:00:00Z","zone":"z1"}]}"#;
        let lock = read(&lease(Some(text))).unwrap();
        let LeasePatch(patch) = patch(&lock, None, Timestamp::UNIX_EPOCH);
        let written: Value = serde_json::from_str(patch["metadata"]["annotations"][HOLDERS].as_str().unwrap()).unwrap();
        assert_eq!(written["queue"][0], "x");
        assert_eq!(written["holders"][0]["zone"], "z1");
    }

    #[test]
    fn an_annotation_that_cannot_be_read_is_an_error_and_never_an_empty_lock() {
        let cases = [
            ("", "put it back"),
            ("{}", "put it back"),
            ("7", "put it back"),
            (r#"{"form":2}"#, "upgrade it"),
            (r#"{"form":1}"#, "kubectl delete lease"),
        ];
        for (text, says) in cases {
            let error = read(&lease(Some(text))).unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
            // The cause is shown, too. It must not name a type of this program.
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(!cause.contains("struct"), "{text}: {cause}");
        }
        let error = read(&lease(None)).unwrap_err().to_string();
        assert!(error.contains(HOLDERS) && error.contains("put it back"), "{error}");
    }
}
