//! Jobs: as many pods as are allowed at once, until enough have succeeded. No pod fails here.

use serde_json::json;

use super::{active, all, create_pod, owned, set_condition};
use crate::simulated::store::{Key, Store, number, text};

pub(super) fn run(store: &mut Store) {
    for job in all(store, "jobs") {
        let pods = owned(store, "pods", &job);
        let succeeded = pods.iter().filter(|pod| text(pod, "/status/phase") == "Succeeded").count();
        let running = pods.iter().filter(|pod| active(pod)).count();
        let limit = |field: &str| usize::try_from(number(&job, field).unwrap_or(1)).unwrap_or(0);
        let complete = succeeded >= limit("/spec/completions");
        if !complete {
            let wanted = limit("/spec/parallelism").min(limit("/spec/completions") - succeeded);
            for _ in running..wanted {
                create_pod(store, "jobs", &job, "", "");
            }
        }
        let running = owned(store, "pods", &job).iter().filter(|pod| active(pod)).count();
        store.change(&Key::of("jobs", &job), |job| {
            job["status"]["active"] = json!(running);
            job["status"]["succeeded"] = json!(succeeded);
            if complete {
                set_condition(&mut job["status"], "Complete", true, "CompletionsReached", "");
            }
        });
    }
}
