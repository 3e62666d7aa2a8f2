//! StatefulSets with `podManagementPolicy: Parallel`: a pod's name is free again once the pod is gone. No set is scaled down.

use super::{all, create_pod, delete_pod, owned};
use crate::simulated::store::{Store, finished, number, terminating, text};

pub(super) fn run(store: &mut Store) {
    for set in all(store, "statefulsets") {
        let pods = owned(store, "pods", &set);
        for index in 0..number(&set, "/spec/replicas").unwrap_or(1) {
            let name = format!("{}-{index}", text(&set, "/metadata/name"));
            match pods.iter().find(|pod| text(pod, "/metadata/name") == name) {
                None => create_pod(store, "statefulsets", &set, &name, ""),
                Some(pod) if finished(pod) && !terminating(pod) => delete_pod(store, pod),
                Some(_) => {}
            }
        }
    }
}
