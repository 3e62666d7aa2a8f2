//! Jobs: as many pods as are allowed at once, until enough have succeeded or too many have failed.

use serde_json::{Value, json};

use super::{active, all, create_pod, owned, set_condition};
use crate::simulated::store::{Key, Store, number, text};

pub(super) fn run(store: &mut Store) {
    for job in all(store, "jobs") {
        let pods = owned(store, "pods", &job);
        let ended = |phase: &str| pods.iter().filter(|pod| text(pod, "/status/phase") == phase).count();
        let (succeeded, failed) = (ended("Succeeded"), ended("Failed"));
        let running = pods.iter().filter(|pod| active(pod)).count();
        let limit = |field: &str| usize::try_from(number(&job, field).unwrap_or(1)).unwrap_or(0);
        let complete = succeeded >= limit("/spec/completions");
        let broken = failed > limit("/spec/backoffLimit");
        if !complete && !broken {
            let wanted = limit("/spec/parallelism").min(limit("/spec/completions") - succeeded);
            for _ in running..wanted {
                create_pod(store, "jobs", &job, "", "");
            }
        }
        let running = owned(store, "pods", &job).iter().filter(|pod| active(pod)).count();
        store.change(&Key::of("jobs", &job), |job| {
            let status = &mut job["status"];
            for (field, count) in [("active", running), ("succeeded", succeeded), ("failed", failed)] {
                status[field] = json!(count);
            }
            end(status, complete, broken);
        });
    }
}

fn end(status: &mut Value, complete: bool, broken: bool) {
    if complete {
        set_condition(status, "Complete", true, "CompletionsReached", "");
    } else if broken {
        set_condition(status, "Failed", true, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
}
