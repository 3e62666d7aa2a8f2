//! WATCH: what happens to the objects of a resource after a revision, as it happens, with bookmarks.
//!
//! Left out: watches that begin with what there is (no resourceVersion, or 0, or `sendInitialEvents`), and selectors.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Cluster;
use super::read::Form;
use super::status::Refusal;
use super::store::{Change, Store, WATCHED};
use crate::http::{Reply, Request, Response, Sink};
use crate::resources::Resource;

pub(super) struct Watch {
    plural: &'static str,
    form: Form,
    after: u64,
    bookmarks: bool,
    limit: Duration,
}

impl Watch {
    pub(super) fn parse(resource: &'static Resource, request: &Request) -> Result<Self, Refusal> {
        let not_simulated = |what: &str| Refusal::bad_request(&format!("a watch {what} is not simulated"));
        if !WATCHED.contains(&resource.plural) {
            return Err(not_simulated(&format!("of {}", resource.plural)));
        }
        if ["fieldSelector", "labelSelector", "sendInitialEvents"].iter().any(|name| request.query(name).is_some()) {
            return Err(not_simulated("that selects"));
        }
        let after = request.query("resourceVersion").unwrap_or_default();
        let after = after.parse().ok().filter(|after| *after > 0).ok_or_else(|| not_simulated("from no version"))?;
        let seconds = request.query("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(1800);
        let bookmarks = request.query("allowWatchBookmarks").is_some_and(|value| value == "true");
        Ok(Self { plural: resource.plural, form: Form::of(request), after, bookmarks, limit: Duration::from_secs(seconds) })
    }

    /// Streams events until the time limit. `stops`: number of times the listener has been closed so far.
    pub(super) fn reply(mut self, cluster: &Arc<Cluster>, stops: u64) -> Reply {
        let cluster = Arc::clone(cluster);
        let head = Response::text(200, String::new());
        let stream = Box::new(move |sink: &mut Sink<'_>| {
            let end = Instant::now() + self.limit;
            loop {
                let next = end.min(Instant::now() + BOOKMARK_EVERY);
                let mut state = cluster.state();
                let mut lines = self.lines(&state.store);
                while lines.is_empty() && state.stops == stops && Instant::now() < next {
                    let limit = next.saturating_duration_since(Instant::now());
                    state = cluster.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0;
                    lines = self.lines(&state.store);
                }
                if state.stops != stops {
                    return Ok(false);
                }
                let over = self.after < state.store.forgotten || Instant::now() >= end;
                if lines.is_empty() && self.bookmarks {
                    self.after = self.after.max(state.store.revision());
                    lines = line("BOOKMARK", &bookmark(self.after, self.plural));
                }
                drop(state);
                sink(lines.as_bytes())?;
                if over {
                    return Ok(true);
                }
            }
        });
        Reply::Stream(head, stream)
    }

    /// Events that were not sent yet.
    fn lines(&mut self, store: &Store) -> String {
        if self.after < store.forgotten {
            let message = format!("too old resource version: {} ({})", self.after, store.forgotten);
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": "Expired", "code": 410});
            return line("ERROR", &status);
        }
        let mut lines = String::new();
        for Change { revision, kind, object, .. } in store.changes_after(self.plural, self.after) {
            lines.push_str(&line(kind, &self.form.show(object)));
            self.after = *revision;
        }
        lines
    }
}

/// Writes the fields in the order of the real server.
fn line(kind: &str, object: &Value) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn bookmark(revision: u64, plural: &str) -> Value {
    let kind = Resource::plural(plural).kind;
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}})
}

/// Interval of bookmarks; the real server sends a bookmark about every minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
