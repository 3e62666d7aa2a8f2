//! The thread that follows all Nodes: who is marked, and who comes and goes.
//!
//! **Each watch begins with a list.** None is taken up where another broke off: what an API server that was restored from
//! a backup, or a load balancer in between, makes of an old version is not worth knowing for one list an hour. As long as
//! no watch is open, everybody who asks reads lists instead.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use super::error::error_chain;
use super::identify::Identities;
use super::marked::Watched;
use super::stop::Stop;
use super::{Error, clock};
use crate::cluster::{Disorder, Marks, NodeEvent};
use crate::kube::{ApiError, Kube};
use crate::metrics::{Metrics, WatchEnd};
use crate::threads;

/// The pause after the first failure; doubled with each that follows.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// The longest pause. Each attempt may read a list of all nodes.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A watch that has lasted for so long has not failed at once.
const LASTED: Duration = Duration::from_secs(60);

/// Why a watch is over.
#[derive(Debug, thiserror::Error)]
enum End {
    /// Its events do not follow on each other.
    #[error("its events cannot be followed")]
    Disorder(#[from] Disorder),
    /// It was given up because of what a write showed.
    #[error("it was of another history")]
    Doubted,
    /// The list that it was to begin with could not be read.
    #[error("there is no list to begin with")]
    List(#[source] Error),
    /// The server's versions are no numbers.
    #[error("this server's resource versions cannot be compared")]
    Unordered,
    /// It broke off, or was not granted.
    #[error(transparent)]
    Watch(#[from] ApiError),
}

/// Follows the Nodes.
pub(super) struct NodeWatch {
    pub(super) kube: Arc<Kube>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) identities: Arc<Identities>,
    pub(super) watched: Arc<Watched>,
    pub(super) stop: Arc<Stop>,
}

impl NodeWatch {
    /// Runs until the process stops.
    pub(super) fn run(&self) {
        let mut failures = 0;
        loop {
            let begun = clock::now().instant;
            let end = self.follow_once();
            self.watched.end();
            self.metrics.watch_ended(reason(&end));
            failures = match &end {
                Ok(()) => 0,
                Err(_) if clock::now().instant.saturating_duration_since(begun) > LASTED => 1,
                Err(_) => failures + 1,
            };
            match &end {
                Ok(()) => debug!("the watch of the nodes has run its time; it begins anew"),
                Err(end) => warn!("the watch of the nodes is over, and lists are read until it is back: {}", error_chain(end)),
            }
            if self.stop.pause(pause(failures, clock::jitter())) {
                return;
            }
        }
    }

    /// One list, and one watch from its version on.
    fn follow_once(&self) -> Result<(), End> {
        let mut marks = Some(threads::aside(|| self.first_marks())?);
        let version = marks.as_ref().map_or(0, Marks::version);
        let mut end = Ok(());
        let open = || {
            debug!("the nodes are watched from version {version} on");
            self.metrics.watch_opened();
            marks.take().into_iter().for_each(|marks| self.watched.begin(marks));
        };
        self.kube.watch_nodes(version, open, |event| match self.heard(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(other) => {
                end = Err(other);
                ControlFlow::Break(())
            }
        })?;
        end
    }

    /// The whole list of nodes if that is to be read anyway, else their metadata.
    fn first_marks(&self) -> Result<Marks, End> {
        self.identities.refresh_old(&self.kube, &self.watched).map_err(End::List)?;
        if let Some(marks) = self.identities.listed() {
            return Ok(marks);
        }
        let listed = self.kube.marked_nodes(|mark| self.identities.met(mark)).map_err(|error| End::List(error.into()))?;
        Marks::of_list(listed.0.into_inner(), &listed.1).ok_or(End::Unordered)
    }

    fn heard(&self, event: NodeEvent) -> Result<(), End> {
        match &event {
            NodeEvent::Added(mark) | NodeEvent::Modified(mark) => self.identities.met(mark),
            NodeEvent::Deleted(mark) => self.identities.gone(mark),
            NodeEvent::Bookmark(_) | NodeEvent::Error(_) => {}
        }
        self.watched.change(|marks| marks.take(event)).ok_or(End::Doubted)?.map_err(End::from)
    }
}

fn reason(end: &Result<(), End>) -> WatchEnd {
    match end {
        Ok(()) => WatchEnd::Done,
        Err(End::Disorder(Disorder::Ended { code: 410, .. }) | End::Watch(ApiError::Gone { .. })) => WatchEnd::Gone,
        Err(End::Disorder(_) | End::Doubted | End::Unordered) => WatchEnd::Disorder,
        Err(End::List(Error::Api(ApiError::Unreachable { .. })) | End::Watch(ApiError::Unreachable { .. })) => WatchEnd::Lost,
        Err(End::List(_) | End::Watch(_)) => WatchEnd::Refused,
    }
}

/// Without a failure a moment, so that a server that ends every watch at once is not called without a rest.
fn pause(failures: u32, jitter: f64) -> Duration {
    let whole = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(PAUSE_MAX);
    whole.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses = [0, 1, 2, 3, 8, 30].map(|failures| pause(failures, 1.0).as_millis());
        assert_eq!(pauses, [500, 500, 1_000, 2_000, 60_000, 60_000]);
        assert_eq!(pause(1, 0.0), Duration::from_millis(250));
    }
}
