//! Jobs: as many pods as are allowed at once, until enough have succeeded. No pod fails here.

use super::{active, all, create_pod, owned};
use crate::simulated::store::{Store, number, text};

pub(super) fn run(store: &mut Store) {
    for job in all(store, "jobs") {
        let pods = owned(store, "pods", &job);
        let succeeded = pods.iter().filter(|pod| text(pod, "/status/phase") == "Succeeded").count();
        let running = pods.iter().filter(|pod| active(pod)).count();
        let limit = |field: &str| usize::try_from(number(&job, field).unwrap_or(1)).unwrap_or(0);
        let wanted = limit("/spec/parallelism").min(limit("/spec/completions").saturating_sub(succeeded));
        for _ in running..wanted {
            create_pod(store, "jobs", &job, "", "");
        }
    }
}
