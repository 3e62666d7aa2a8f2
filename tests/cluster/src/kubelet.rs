//! A fake kubelet for all nodes: starts the pods that the scheduler bound, finishes Jobs, and ends what is deleted.
//!
//! It works through the API, so on the simulated cluster as on the real one. An API server that is away does not disturb it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Api;
use crate::objects;

/// Annotation of a pod: time until the pod ends, in milliseconds, at most its grace period.
pub const TERMINATION_MS: &str = "test/termination-ms";

/// Annotation of a pod: time from its binding to Running, in milliseconds.
pub const START_MS: &str = "test/start-ms";

/// Kubelets of all nodes, stopped on drop.
#[derive(Debug)]
pub struct Kubelet {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    powered_off: Mutex<BTreeSet<String>>,
}

impl Kubelet {
    /// Starts the kubelets.
    pub fn start(api: Api) -> Self {
        let shared = Arc::<Shared>::default();
        let mut rounds = Rounds { api, shared: Arc::clone(&shared), since: HashMap::new() };
        let thread = thread::spawn(move || rounds.run());
        Self { shared, thread: Some(thread) }
    }

    /// Stops the kubelet of a node.
    pub fn power_off(&self, node: &str) {
        self.shared.powered_off().insert(node.to_owned());
    }

    /// Starts the kubelet of a node again.
    pub fn power_on(&self, node: &str) {
        self.shared.powered_off().remove(node);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the kubelet is already printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn continues(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    fn powered_off(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.powered_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, PartialEq)]
enum Action {
    /// Delete the object: the containers have ended.
    Remove,
    /// Write the status.
    Report(Value),
}

/// The kubelets' loop. `since` has the time at which a pod, by UID, was first seen in a stage.
struct Rounds {
    api: Api,
    shared: Arc<Shared>,
    since: HashMap<(String, &'static str), Instant>,
}

impl Rounds {
    fn run(&mut self) {
        while self.shared.continues() {
            let start = Instant::now();
            self.round();
            // Never more than half of the time: on a small machine the API server has other work, too.
            thread::park_timeout(start.elapsed().max(PAUSE));
        }
    }

    /// Handles all pods once. A call that fails is repeated in the next round.
    fn round(&mut self) {
        // Version 0: what the API server has in its cache will do; each write names the UID it means.
        let Ok(list) = self.api.try_call("GET", "/api/v1/pods?resourceVersion=0", "", None) else { return };
        let pods = list.body["items"].as_array().map_or(&[][..], Vec::as_slice);
        self.since.retain(|(uid, _), _| pods.iter().any(|pod| pod["metadata"]["uid"] == uid.as_str()));
        let off = self.shared.powered_off().clone();
        let is_powered = |pod: &Value| pod["spec"]["nodeName"].as_str().is_some_and(|node| !off.contains(node));
        let actions: Vec<(&Value, Action)> =
            pods.iter().filter(|pod| is_powered(pod)).filter_map(|pod| self.next(pod).map(|action| (pod, action))).collect();
        let (api, shared) = (&self.api, &self.shared);
        thread::scope(|scope| {
            for share in actions.chunks(actions.len().div_ceil(THREADS).max(1)) {
                scope.spawn(move || share.iter().take_while(|_| shared.continues()).for_each(|(pod, action)| perform(api, pod, action)));
            }
        });
    }

    /// Returns the next action for a pod.
    fn next(&mut self, pod: &Value) -> Option<Action> {
        let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().map_or(Duration::MAX, Duration::from_secs);
            let wanted = milliseconds(pod, TERMINATION_MS).unwrap_or(TERMINATION);
            return (self.age(pod, "ending") >= wanted.min(grace)).then_some(Action::Remove);
        }
        match phase {
            "Failed" | "Succeeded" => None,
            "Running" if is_reported(pod) => (is_of_job(pod) && self.age(pod, "running") >= RUN).then(|| Action::Report(succeeded(pod))),
            "Pending" if self.age(pod, "starting") < milliseconds(pod, START_MS).unwrap_or_default() => None,
            _ => Some(Action::Report(running(pod))),
        }
    }

    /// Returns the time since the pod was first seen in this stage.
    fn age(&mut self, pod: &Value, stage: &'static str) -> Duration {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.since.entry((uid.to_owned(), stage)).or_insert_with(Instant::now).elapsed()
    }
}

/// Does it, to the pod of that UID. The answer does not matter: the next round sees what has become of it.
fn perform(api: &Api, pod: &Value, action: &Action) {
    let metadata = &pod["metadata"];
    let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str()) else { return };
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let _ = match action {
        Action::Remove => {
            let options = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]},
            });
            api.try_call("DELETE", &path, "application/json", Some(&options))
        }
        Action::Report(status) => {
            let patch = json!({"metadata": {"uid": metadata["uid"]}, "status": status});
            api.try_call("PATCH", &format!("{path}/status"), "application/merge-patch+json", Some(&patch))
        }
    };
}

fn milliseconds(pod: &Value, annotation: &str) -> Option<Duration> {
    pod["metadata"]["annotations"][annotation].as_str().and_then(|text| text.parse().ok()).map(Duration::from_millis)
}

fn is_of_job(pod: &Value) -> bool {
    pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.iter().any(|owner| owner["kind"] == "Job"))
}

/// Reports whether the condition Ready is already written.
fn is_reported(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn running(pod: &Value) -> Value {
    let now = objects::now();
    let start = pod["status"]["startTime"].as_str().unwrap_or(&now);
    let state = json!({"running": {"startedAt": start}});
    json!({"phase": "Running", "startTime": start, "conditions": conditions("True"), "containerStatuses": containers(pod, &state)})
}

fn succeeded(pod: &Value) -> Value {
    let state = json!({"running": null, "terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": objects::now()}});
    json!({"phase": "Succeeded", "conditions": conditions("False"), "containerStatuses": containers(pod, &state)})
}

fn conditions(ready: &str) -> Value {
    let now = objects::now();
    let states = [("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", ready), ("Ready", ready)];
    states.iter().map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": now})).collect()
}

fn containers(pod: &Value, state: &Value) -> Value {
    let ready = state["running"].is_object();
    let status = |container: &Value| {
        let (name, image) = (&container["name"], &container["image"]);
        json!({"name": name, "image": image, "imageID": "", "ready": ready, "started": true, "restartCount": 0, "state": state})
    };
    pod["spec"]["containers"].as_array().into_iter().flatten().map(status).collect()
}

/// Shortest pause between two rounds.
const PAUSE: Duration = Duration::from_millis(50);

/// Time that a pod takes to end.
const TERMINATION: Duration = Duration::from_millis(300);

/// Threads that write to the API.
const THREADS: usize = 4;

/// Time for which the pod of a Job runs.
const RUN: Duration = Duration::from_millis(500);
