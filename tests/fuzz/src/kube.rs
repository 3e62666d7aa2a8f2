//! Objects and answers of the Kubernetes API.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use reboot_manager::access::verify;
use reboot_manager::cluster::{
    Before, CaMap, CaSecret, CordonRecord, Host, Lease, Member, NEXT_CA_FROM, Node, NodeEvent, NodeMeta, NodeName, NodePatch, Pod, PodKey,
    Service, Term, TlsSecret, Uid, without_nulls,
};
use reboot_manager::drain::{DrainPlan, Eviction, EvictionError, Ours, classify};
use reboot_manager::fleetlock::{Fleet, Found, GroupName};
use reboot_manager::kube::{ApiStatus, read_page};
use reboot_manager::lock::{LockState, Times, patch, read, release};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Bytes that are cut off the end of a page, one by one.
const CUTS: usize = 40;

/// Reads a Node in each of its forms, marks it and restores it.
pub(crate) fn node(input: &[u8]) {
    let meta: Option<NodeMeta> = serde_json::from_slice(input).ok();
    let member: Option<Member> = serde_json::from_slice(input).ok();
    let _: Option<Host> = serde_json::from_slice(input).ok();
    let Ok(node) = serde_json::from_slice::<Node>(input) else { return };
    assert_eq!(meta.as_ref(), Some(&node.meta), "the metadata alone is read differently");
    let member = member.expect("a whole Node is a member");
    assert_eq!((&member.name, &member.uid.to_string(), member.version), (node.name(), &node.meta.uid.0, node.meta.version.number()));
    assert_eq!((member.status, member.record.as_deref()), (node.meta.status, node.meta.record.as_ref()));
    assert_eq!((member.machine_id, &member.boot_id.to_string()), (node.machine_id, &node.boot_id));
    assert_eq!((member.readiness, member.readiness_since), (node.readiness, node.readiness_since));
    assert_eq!((member.unschedulable, member.control_plane), (node.unschedulable, node.control_plane));
    assert!(node.addresses.iter().chain(&node.gateways).all(|address| verify(&node, *address).is_none()));

    // A Node that nests too deeply for a `Value` is not written back either.
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    assert_eq!(decode::<Node>(&object), node, "read from a value it is different");
    let term = Term { lease: Uid("1".to_owned()), term: 7 };
    let record = CordonRecord { before: node.state_to_record(), term: term.clone(), drained: None };
    let marked_object = merged(object.clone(), &NodePatch::mark(&node, record).merge());
    let marked: Node = decode(&marked_object);
    assert!(marked.is_cordoned_for(&term), "the patch does not mark");
    assert_eq!((marked.machine_id, marked.readiness), (node.machine_id, node.readiness));
    let record = marked.meta.record.as_ref().expect("a marked node has a record");
    let drained: Node = decode(&merged(marked_object.clone(), &NodePatch::drained(&marked, record, Timestamp::UNIX_EPOCH).merge()));
    assert!(drained.is_cordoned_for(&term) && drained.meta.record != marked.meta.record);
    assert_eq!(drained.state_to_restore(), marked.state_to_restore());

    let back: Node = decode(&merged(marked_object, &NodePatch::restore(&marked).merge()));
    assert!(back.meta.is_in_service());
    let was_ours = node.state_to_record() == Before::Schedulable;
    assert_eq!(back.unschedulable, node.unschedulable && !was_ours, "a cordon was lost or left");
    let restored: Node = decode(&merged(object, &NodePatch::restore(&node).merge()));
    assert!(restored.meta.is_in_service());
    assert!(!restored.unschedulable || node.unschedulable);
}

/// Reads the smaller objects: Pod, Service, the Secrets with a certificate and with a CA, the ConfigMap of a CA.
pub(crate) fn objects(input: &[u8]) {
    if let Some(pod) = check_decoded::<Pod>(input) {
        let plan = DrainPlan::of(std::slice::from_ref(&pod), &Ours::default(), Timestamp::UNIX_EPOCH, None);
        assert_eq!(plan.left() + plan.skipped.len(), 1, "a pod is evicted or skipped");
        assert!(plan.is_empty() || !pod.mirror && !pod.finished, "{pod:?}");
        assert_eq!(plan.terminating.len(), usize::from(!plan.is_empty() && pod.ends.is_some()));
        assert!(plan.waiting.is_empty(), "a pod waits for none: {pod:?}");
        assert!(pod.ends.is_some() || pod.finalizers.is_empty(), "{pod:?}");
    }
    if let Some(service) = check_decoded::<Service>(input) {
        assert!(service.addresses.iter().all(|address| address.parse::<IpAddr>().is_ok()), "{service:?}");
    }
    if let Some(secret) = check_decoded::<TlsSecret>(input) {
        let (certificate, key) = (&secret.pair.certificate, secret.pair.key.reveal());
        let written = json!({"metadata": {"resourceVersion": secret.version}, "data": secret.pair.data()});
        assert_eq!(decode::<TlsSecret>(&written), secret);
        assert!(key.len() < 8 || certificate.contains(key) || secret.version.0.contains(key) || !format!("{secret:?}").contains(key));
    }
    if let Some(map) = check_decoded::<CaMap>(input) {
        let annotations = json!({NEXT_CA_FROM: map.next_ca_from});
        let metadata = json!({"resourceVersion": map.version, "annotations": without_nulls(annotations)});
        assert_eq!(decode::<CaMap>(&json!({"metadata": metadata, "data": CaMap::data(&map.certificates)})), map);
    }
    if let Some(secret) = check_decoded::<CaSecret>(input) {
        let (annotations, data) = secret.bundle.fields();
        let metadata = json!({"resourceVersion": secret.version, "annotations": without_nulls(annotations)});
        assert_eq!(decode::<CaSecret>(&json!({"metadata": metadata, "data": without_nulls(data)})), secret);
    }
}

/// Reads the Lease and the lock in it. The lock, and every change of it, must be read as it was written.
pub(crate) fn lease(input: &[u8]) {
    let Ok(lease) = serde_json::from_slice::<Lease>(input) else { return };
    let lock = match read(&lease) {
        Ok(lock) => lock,
        Err(error) => return assert!(error.to_string().contains("rebootmanager/holders")),
    };
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    let now = Timestamp::from_second(1_790_000_000).expect("a moment");
    let check_kept = |lock: &LockState| {
        let written: Lease = decode(&merged(object.clone(), &patch(lock, Some(&lease.version.version), now).0));
        // A number with a fraction loses digits in each reading; none of our own fields has one.
        let floats = lock.extra.values().chain(lock.holders.iter().flat_map(|holder| holder.extra.values())).any(holds_a_float);
        assert!(floats || read(&written).is_ok_and(|again| again == *lock), "{lock:?} is read differently");
    };
    check_kept(&lock);

    let (name, uid) = (NodeName("new".to_owned()), Uid("new".to_owned()));
    let taken = lock.take(&name, &uid, &GroupName::parse("g").expect("a group"), now);
    assert!(taken.last_term >= lock.last_term, "terms go back");
    assert!(taken.holder(&uid).is_some() && taken.others(&name).all(|other| other.node != name));
    for changed in [taken.approve(&uid, "boot", now), taken.check_in(&uid, now), taken.free(&uid, now)] {
        check_kept(&changed);
    }
    assert!(taken.free(&uid, now).holder(&uid).is_none());
    for holder in &lock.holders {
        let _ = release(holder, None, None, &Times::DEFAULT, now);
    }
}

/// Reads a page of a list, as pods and as Nodes: all of it, or an error.
pub(crate) fn list(input: &[u8]) {
    check_page::<Pod>(input);
    check_page::<Member>(input);
}

fn check_page<T: DeserializeOwned + PartialEq + Debug>(input: &[u8]) {
    let page = |bytes: &[u8]| {
        let (mut items, mut count) = (Vec::<T>::new(), 0);
        let end = read_page(bytes, &mut count, |item| items.push(item)).ok()?;
        assert_eq!(count, items.len());
        Some((items, end.next))
    };
    let Some((items, next)) = page(input) else { return };
    let whole = input.trim_ascii_end();
    for cut in 1..whole.len().min(CUTS) {
        assert!(page(&whole[..whole.len() - cut]).is_none(), "a page without its last {cut} bytes was read");
    }
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    assert_ne!(object["kind"], "Status");
    let listed: Vec<T> = object["items"].as_array().into_iter().flatten().map(decode).collect();
    assert_eq!(items, listed, "items are missing or read differently");
    assert_eq!(next.as_deref(), object["metadata"]["continue"].as_str().filter(|next| !next.is_empty()));
}

/// Reads the events of a watch, and applies them to the list in the first line.
pub(crate) fn watch(input: &[u8]) {
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
        assert!(fleet.members().iter().eq(expected.values()), "the members are different");
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
            NodeEvent::Error(_) => panic!("an error was applied as an event"),
        }
    }
    assert!(fleet.members().iter().eq(expected.values()), "the members are different");
    for member in expected.values() {
        let Some(machine) = member.machine_id else { continue };
        match fleet.find(machine.0) {
            Found::Node(node) => assert_eq!((&node.name, node.uid.0), (&member.name, member.uid.to_string())),
            Found::Many(names) => assert!(names.len() > 1 && names.contains(&member.name)),
            Found::NoNode => panic!("a member is not found"),
        }
    }
}

/// Reads the body of an error answer, and classifies it as that of an eviction. The first line is the code.
pub(crate) fn status(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let code = parts.next().and_then(|line| str::from_utf8(line).ok()).and_then(|line| line.parse().ok()).unwrap_or(429);
    let body = parts.next().unwrap_or_default();
    let status = ApiStatus::of_body(code, None, body);
    assert_eq!(status.code, code);
    assert!(status.to_string().starts_with(&code.to_string()));
    if let Ok(value) = serde_json::from_slice::<Value>(body)
        && !status.reason.is_empty()
    {
        assert_eq!(value["reason"], status.reason.as_str());
    }
    // A page of a proxy is not kept whole.
    assert!(body.trim_ascii_start().starts_with(b"{") || status.message.chars().count() <= 200, "{status:?}");

    let causes = status.causes.iter().map(|cause| (cause.reason.clone(), cause.message.clone())).collect();
    let retry_after = status.retry_after_seconds.map(Duration::from_secs);
    let not_found = status.is_not_found("pods", "db-0");
    let error = EvictionError { code, message: status.message.clone(), causes, retry_after, not_found };
    let eviction = classify(&PodKey { namespace: "shop".to_owned(), name: "db-0".to_owned() }, &error);
    assert_ne!(eviction, Eviction::Evicted, "a refusal was read as an approval");
    if code == 429 && status.names_a_budget() {
        assert!(matches!(eviction, Eviction::Budget { .. }), "{eviction:?}");
    }
    // Only an answer about this very pod shows that it is gone.
    assert!(!matches!(eviction, Eviction::Gone { .. }) || not_found || code == 409 && status.message.contains("UID in "), "{eviction:?}");
}

/// Decodes bytes; a value of the same bytes must decode to the same object.
fn check_decoded<T: DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(input).ok()?;
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        assert_eq!(decode::<T>(&value), read);
    }
    Some(read)
}

#[track_caller]
fn decode<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("an object of this type")
}

fn holds_a_float(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(holds_a_float),
        Value::Object(all) => all.values().any(holds_a_float),
        Value::Number(number) => number.is_f64(),
        Value::Bool(_) | Value::Null | Value::String(_) => false,
    }
}

/// Applies a JSON merge patch as the API server does: RFC 7386, section 2.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = if let Value::Object(fields) = target { fields } else { Map::new() };
    for (name, change) in changes {
        let before = fields.remove(name).unwrap_or_default();
        if !change.is_null() {
            fields.insert(name.clone(), merged(before, change));
        }
    }
    Value::Object(fields)
}
