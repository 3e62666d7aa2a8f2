//! The paths that every request takes, each alone: for counting instructions, which do not depend on the machine.
//!
//! `scripts/instructions` runs `hot --list` for the names, then `hot PATH ROUNDS` under valgrind.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark ends when a value is not the expected one")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use reboot_manager::cluster::{
    Before, Complete, CordonRecord, HexId, Lease, LeaseVersion, Member, Node, NodeEvent, NodeMeta, NodeName, Pod, ResourceVersion, Status,
    Uid, Waiting,
};
use reboot_manager::drain::{DrainPlan, Ours, Schedule};
use reboot_manager::fleetlock::{Fleet, GroupName, Head, Kind, Reply, parse, zincati_id};
use reboot_manager::http::head::{Progress, Reader, Sizes};
use reboot_manager::lock::{Capacity, HOLDERS, LockState, Times, patch, read};
use reboot_manager::reboot::{Caller, Fact, Lock, LockChange, Now, Observed, Outcome, Rules, Step, Wait, pre_reboot};
use serde::Deserialize;
use serde_json::{Map, json};
use test_cluster::objects;

/// Nodes in a page, and pods on a node.
const NODES: usize = 500;
const PODS: usize = 100;

type Path = Box<dyn FnMut()>;

/// Argument, row title, and constructor of a path.
type Named = (&'static str, &'static str, fn() -> Path);

const PATHS: [Named; 8] = [
    ("request", "a request: head, body, FleetLock JSON, and the reply's JSON", request),
    ("metadata", "the metadata of one Node decoded", metadata),
    ("page", "a page of 500 whole Nodes into the fleet view, and one look-up", page),
    ("heartbeat", "a heartbeat of another node from the watch into a fleet view of 500 nodes", heartbeat),
    ("denied", "the rules to the answer `slots_taken`", denied),
    ("approved", "the rules to the approval: node, pods and lock seen", approved),
    ("lock", "the lock with 5 holders read from the Lease and written", lock),
    ("plan", "100 pods decoded, sorted into a plan, and the first to evict chosen", plan),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [list] if list == "--list" => PATHS.iter().for_each(|(word, name, _)| println!("{word} {name}")),
        [word, rounds] => {
            let (_, _, make) = PATHS.iter().find(|(known, ..)| known == word).unwrap();
            let mut path = make();
            (0..rounds.parse::<u32>().unwrap()).for_each(|_| path());
        }
        other => panic!("usage: hot --list | hot PATH ROUNDS, not {other:?}"),
    }
}

fn request() -> Path {
    const BYTES: &[u8] = include_bytes!("../tests/data/requests/zincati");
    let body = BYTES.iter().position(|byte| *byte == b'{').unwrap();
    Box::new(move || {
        let Ok(Progress::Whole(received)) = Reader::new(Sizes::default()).push(black_box(BYTES)) else { panic!("not whole") };
        black_box(received);
        let head = Head { method: "POST", target: "/v1/pre-reboot", protocol: Some("true") };
        black_box(parse(head, black_box(&BYTES[body..]), "/").continue_value().unwrap());
        black_box(Reply::refusal(Kind::SlotsTaken, "node n1 has to wait: the slot is held by n2".to_owned()).json());
    })
}

fn metadata() -> Path {
    let whole = whole_node(1);
    let wire = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": whole["metadata"]}).to_string();
    Box::new(move || drop(black_box(serde_json::from_str::<NodeMeta>(black_box(&wire)).unwrap())))
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Member>,
}

fn page() -> Path {
    let items: Vec<serde_json::Value> = (0..NODES).map(whole_node).collect();
    let wire = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}).to_string();
    let machine = serde_json::from_value::<Member>(whole_node(7)).unwrap().machine_id.unwrap();
    Box::new(move || {
        let page: Page = serde_json::from_slice(black_box(wire.as_bytes())).unwrap();
        let mut fleet = Fleet::default();
        page.items.into_iter().for_each(|node| fleet.add(node));
        black_box(fleet.finish(&ResourceVersion("9".to_owned())).find(zincati_id(machine)));
    })
}

fn heartbeat() -> Path {
    let mut fleet = Fleet::default();
    (0..NODES).for_each(|number| fleet.add(serde_json::from_value(whole_node(number)).unwrap()));
    let mut fleet = fleet.finish(&ResourceVersion("1".to_owned()));
    let mut node = whole_node(7);
    node["metadata"]["resourceVersion"] = json!("999999");
    // The API server sends `type` first.
    let wire = format!(r#"{{"type":"MODIFIED","object":{node}}}"#);
    Box::new(move || fleet.apply(serde_json::from_str::<NodeEvent>(black_box(&wire)).unwrap()).unwrap())
}

fn denied() -> Path {
    let (caller, rules) = (caller(), rules());
    let state = LockState::default().take(&NodeName("n2".to_owned()), &Uid("u2".to_owned()), &caller.group, clock());
    let mut node = node();
    node.meta.waiting = Some(Waiting { since: clock(), reason: Kind::SlotsTaken.name().to_owned() });
    let facts = vec![Fact::Node(Some(node), None), Fact::Lock(Lock { state, version: Some(version()), written: None })];
    Box::new(move || match decide(&caller, &rules, &facts) {
        Step::Wait(Wait::Slot(wait)) => drop(black_box(wait)),
        other => panic!("{other:?}"),
    })
}

fn approved() -> Path {
    let (caller, rules) = (caller(), rules());
    let state = LockState::default().take(&caller.node, &caller.uid, &caller.group, clock()).approve(&caller.uid, "boot", clock());
    let lock = Lock { state, version: Some(version()), written: Some(LockChange::Approve) };
    let mut node = node();
    node.unschedulable = true;
    node.meta.status = Status::Rebooting;
    node.meta.record = Some(CordonRecord { before: Before::Schedulable, term: lock.term(1), drained: None });
    let facts = vec![Fact::Node(Some(node), None), Fact::Pods(Complete::of_all_pages(Vec::new())), Fact::Lock(lock)];
    Box::new(move || match decide(&caller, &rules, &facts) {
        Step::Answer(Outcome::Approved(approval, _)) => drop(black_box(approval)),
        other => panic!("{other:?}"),
    })
}

/// Folds the facts as a request does, then returns the next step.
fn decide(caller: &Caller, rules: &Rules, facts: &[Fact]) -> Step {
    let instant = Instant::now();
    let mut seen = Observed::new(caller.uid.clone(), None);
    facts.iter().for_each(|fact| seen.record(black_box(fact.clone()), instant));
    pre_reboot::next(caller, &seen, rules, Now { clock: clock(), instant })
}

fn lock() -> Path {
    let group = GroupName::parse("default").unwrap();
    let take = |state: LockState, number: usize| {
        state.take(&NodeName(format!("n{number}")), &Uid(format!("1b9f1e0c-0000-4000-8000-{number:012}")), &group, clock())
    };
    let state = (0..5).fold(LockState::default(), take);
    let written = patch(&state, None, clock()).0;
    let text = written["metadata"]["annotations"][HOLDERS].as_str().unwrap().to_owned();
    let lease = Lease { version: version(), annotations: BTreeMap::from([(HOLDERS.to_owned(), text)]) };
    Box::new(move || {
        let state = read(black_box(&lease)).unwrap();
        black_box(patch(&state, Some(&lease.version.version), clock()).0.to_string());
    })
}

fn plan() -> Path {
    let pods: Vec<serde_json::Value> = (0..PODS).map(pod).collect();
    let (wire, now) = (json!(pods).to_string(), Instant::now());
    Box::new(move || {
        let pods: Vec<Pod> = serde_json::from_str(black_box(&wire)).unwrap();
        let plan = DrainPlan::of(&pods, &Ours::default(), clock(), None);
        assert!(black_box(Schedule::default().begin(&plan, now)).is_some());
    })
}

/// A Node as the API server sends it: about 11 KB.
fn whole_node(number: usize) -> serde_json::Value {
    let name = format!("n{number}");
    let mut node = objects::node(&name, &Map::new(), &[]);
    node["metadata"]["uid"] = json!(format!("1b9f1e0c-0000-4000-8000-{number:012}"));
    node["metadata"]["resourceVersion"] = json!("7");
    node["metadata"]["annotations"] = json!({"rebootmanager/status": "Ready", "node.alpha.kubernetes.io/ttl": "0"});
    node["status"] = objects::node_status(&name, &format!("{:032x}", number + 1), "boot");
    node["status"]["images"] = objects::images();
    node
}

fn pod(number: usize) -> serde_json::Value {
    let mut pod = objects::bare_pod("shop", &format!("web-6d4cf56db6-{number:05}"), objects::Placement::Free);
    pod["metadata"]["uid"] = json!(format!("2c9f1e0c-0000-4000-8000-{number:012}"));
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6", "uid": "r", "controller": true}]);
    pod["status"] = json!({"phase": "Running", "conditions": objects::node_conditions("True"), "podIP": "192.0.2.17"});
    pod
}

fn node() -> Node {
    serde_json::from_value(whole_node(1)).unwrap()
}

fn caller() -> Caller {
    let node = node();
    let id: HexId = zincati_id(node.machine_id.unwrap());
    Caller { node: node.meta.name, uid: node.meta.uid, id, group: GroupName::parse("default").unwrap(), arrived: clock() }
}

fn rules() -> Rules {
    Rules {
        capacity: Capacity { slots: 1 },
        protect_control_plane: true,
        times: Times::DEFAULT,
        replica: "replica".to_owned(),
        ours: Ours::default(),
    }
}

fn version() -> LeaseVersion {
    LeaseVersion { uid: Uid("lease".to_owned()), version: ResourceVersion("7".to_owned()) }
}

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}
