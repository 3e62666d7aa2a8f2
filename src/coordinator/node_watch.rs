//! The thread that watches all Nodes, for the view of the fleet.
//!
//! A watch begins with a list. A watch that has run its time, or was cut, continues at once from its last version: load balancers cut
//! quiet connections, and that is no failure. In all other cases a new list is read. A watch that was silent for too long, or could
//! not be continued at once, is not continued, because the server may have been restored from a backup meanwhile.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::error::error_chain;
use super::node_cache::{NodeCache, NotApplied, Start};
use super::{Error, Stop};
use crate::fleetlock::WatchError;
use crate::kube::{ApiError, Kube};
use crate::metrics::{Metrics, WatchEnd};
use crate::system::backoff::{Backoff, jitter};
use crate::system::repeats::Repeats;
use crate::system::{clock, threads};

/// Pauses after temporary failures.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };

/// Pauses after refused watches. They are longer, because each attempt reads a list.
const BACKOFF_REFUSED: Backoff = Backoff { max: Duration::from_secs(300), ..BACKOFF };

/// A watch that lasted longer than this resets the pauses.
const LASTED: Duration = Duration::from_secs(60);

/// A watch that brought no event and ended sooner than this has failed.
const LASTED_MIN: Duration = Duration::from_secs(1);

/// Maximum duration of a watch. Each watch gets a random duration from half of the limit up to the limit, so that replicas do not
/// reconnect at the same time.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// Minimum of a limit learned from cuts.
const TIME_MIN: Duration = Duration::from_secs(10);

/// Time after which a learned limit is forgotten, and cuts are logged again.
const LEARNED_FOR: Duration = Duration::from_secs(3600);

/// Duration of the next watch, learned from cuts: a load balancer may cut each watch after some time.
#[derive(Debug, Default)]
struct Times {
    learned: Option<(Duration, Instant)>,
    cuts: u32,
    logged_at: Option<Instant>,
}

/// Reason why a watch ended and cannot be continued.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The events cannot be applied.
    #[error("its events are out of order")]
    Events(#[from] WatchError),
    /// The first list could not be read.
    #[error("the first list failed")]
    List(#[source] Error),
    /// The view was replaced by a list, a write has shown that the view is invalid, or the watch ended at once.
    #[error("its events no longer match the known nodes")]
    Replaced,
    /// The server's versions are not numbers.
    #[error("this server's resource versions cannot be compared")]
    Unordered,
    /// The watch was refused or lost.
    #[error(transparent)]
    Watch(#[from] ApiError),
}

/// Keeps the view of the fleet up to date.
pub(super) struct NodeWatch {
    pub(super) kube: Arc<Kube>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) node_cache: Arc<NodeCache>,
    pub(super) stop: Arc<Stop>,
}

impl NodeWatch {
    /// Runs until the process stops.
    pub(super) fn run(&self) {
        let (mut failures, mut times, mut repeats) = (0, Times::default(), Repeats::default());
        loop {
            let begun = clock::now().instant;
            let end = self.follow_once(&mut times);
            self.node_cache.end();
            self.metrics.watch_ended(reason(&end));
            failures = if clock::now().instant.saturating_duration_since(begun) > LASTED { 1 } else { failures + 1 };
            let error = error_chain(&end);
            if repeats.due(&error, clock::now().instant).is_some() {
                warn!("cannot watch nodes, listing instead and retrying: {error}");
            }
            let backoff = if matches!(end, End::Watch(ApiError::Refused { .. })) { BACKOFF_REFUSED } else { BACKOFF };
            if *self.stop.wait(backoff.pause(failures, jitter()), |stop| *stop) {
                return;
            }
        }
    }

    /// Reads a list and follows watches from it, until one cannot be continued.
    fn follow_once(&self, times: &mut Times) -> End {
        let mut start = match threads::on_fresh_stack(|| self.node_cache.start(&self.kube)) {
            Ok(Some(start)) => start,
            Ok(None) => return End::Unordered,
            Err(error) => return End::List(error),
        };
        loop {
            let begun = clock::now().instant;
            let mut granted = false;
            let result = self.watch(start, times.next(begun, jitter()), &mut granted);
            let now = clock::now().instant;
            let cut = match result {
                Ok(()) => false,
                Err(End::Watch(error)) if granted && error.is_cut() => true,
                Err(end) => return end,
            };
            let lasted = now.saturating_duration_since(begun);
            if let Some(cuts) = times.over(cut, lasted, now) {
                info!("the watch of nodes was cut after {} s and continues; {cuts} cuts since the last message", lasted.as_secs());
            }
            let has_worked = |next: &Start| lasted >= LASTED_MIN || next.version > start.version;
            let Some(next) = self.node_cache.resume(start).filter(has_worked) else { return End::Replaced };
            start = next;
            self.metrics.watch_ended(if cut { WatchEnd::Cut } else { WatchEnd::Done });
        }
    }

    /// Follows a watch. `granted` is set once the server has accepted it.
    fn watch(&self, start: Start, time: Duration, granted: &mut bool) -> Result<(), End> {
        // For a server that agrees, but too late.
        let mut end = Err(End::Replaced);
        let open = || {
            *granted = true;
            let begun = self.node_cache.begin(start);
            if begun {
                end = Ok(());
                debug!("watching nodes from version {} for {} s", start.version, time.as_secs());
                self.metrics.watch_opened();
            }
            begun
        };
        let mut broken = None;
        self.kube.watch_nodes(start.version, time, open, |event| match self.node_cache.apply(start, event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                broken = Some(match why {
                    NotApplied::Replaced => End::Replaced,
                    NotApplied::Watch(error) => End::Events(error),
                });
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(end, Err)
    }
}

impl Times {
    fn next(&mut self, now: Instant, jitter: f64) -> Duration {
        self.learned = self.learned.filter(|(_, at)| now.saturating_duration_since(*at) < LEARNED_FOR);
        self.learned.map_or(TIME_MAX, |(limit, _)| limit).mul_f64(0.5 + jitter / 2.0)
    }

    /// A watch is over after `lasted`. Returns the number of cuts when they are to be logged.
    fn over(&mut self, cut: bool, lasted: Duration, now: Instant) -> Option<u32> {
        if !cut {
            return None;
        }
        let shorter = (lasted * 3 / 4).max(TIME_MIN);
        if self.learned.is_none_or(|(limit, _)| shorter < limit) {
            self.learned = Some((shorter, now));
        }
        self.cuts += 1;
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < LEARNED_FOR) {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.cuts))
    }
}

fn reason(end: &End) -> WatchEnd {
    match end {
        End::Events(WatchError::Ended { code: 410, .. }) | End::Watch(ApiError::Gone { .. }) => WatchEnd::Gone,
        End::Events(_) | End::Replaced | End::Unordered => WatchEnd::Inconsistent,
        End::List(Error::Api(ApiError::Unreachable { .. })) | End::Watch(ApiError::Unreachable { .. }) => WatchEnd::Lost,
        End::List(_) | End::Watch(_) => WatchEnd::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses = [1, 2, 3, 8, 30].map(|failures| BACKOFF.pause(failures, 1.0).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 60_000, 60_000]);
        assert_eq!(BACKOFF_REFUSED.pause(30, 1.0), Duration::from_secs(300));
        assert_eq!(BACKOFF.pause(1, 0.0), Duration::from_millis(250));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant comes from the clock alone; nothing is measured")]
    fn a_watch_that_is_cut_makes_the_next_ones_shorter_for_an_hour() {
        let (start, seconds) = (Instant::now(), Duration::from_secs);
        let mut times = Times::default();
        assert_eq!((times.next(start, 1.0), times.next(start, 0.0)), (seconds(3600), seconds(1800)));
        assert_eq!(times.over(false, seconds(5), start), None);
        assert_eq!(times.next(start, 1.0), seconds(3600), "a watch that the server ended teaches nothing");
        assert_eq!(times.over(true, seconds(40), start), Some(1));
        assert_eq!(times.next(start, 1.0), seconds(30));
        assert_eq!(times.over(true, seconds(100), start + seconds(50)), None, "one line an hour");
        assert_eq!(times.next(start, 1.0), seconds(30));
        assert_eq!(times.over(true, seconds(4), start + seconds(60)), None);
        assert_eq!(times.next(start + seconds(3659), 1.0), seconds(10));
        assert_eq!(times.next(start + seconds(3661), 1.0), seconds(3600));
        assert_eq!(times.over(true, seconds(1000), start + seconds(3700)), Some(3));
    }
}
