//! State of a drain, as the replica that runs it reports it in the Lease: so one replica evicts, any other continues if it stops, and
//! each of them can say what blocks the drain and since when.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Holder, LockState};

/// Minimum time between two reports of an unchanged drain.
pub const REPORT_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// Time without a new report after which another replica continues the drain. Each replica measures it itself, because the clocks of two
/// replicas may differ.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// Maximum time that one report adds to the time without progress. A longer one is no evidence: no replica looked meanwhile.
const IDLE_STEP_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Time after which a request of a holder that waits for its answer is recorded once more.
pub const ASK_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Maximum length of a reason, in characters.
const BY_MAX: usize = 300;

/// Last report of a drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct DrainReport {
    /// The replica that evicts; empty if it has stopped.
    pub replica: String,
    /// Time of the report.
    pub at: Timestamp,
    /// Seconds without progress ([`crate::drain::Advance`]), at whichever replica.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle: i64,
    /// Reason for which the drain is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<BlockedDrain>,
}

/// Reason for which a drain is blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct BlockedDrain {
    /// Time at which the drain was first blocked; a new reason does not change it.
    pub since: Timestamp,
    /// The pods, and what keeps each.
    pub by: String,
}

/// Part of a replica in a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Evicts, and reports.
    Lead,
    /// Only lists the pods, because another replica evicts.
    Follow,
}

/// The last report of another replica that this one has read, and when it read that first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastReport(Option<(String, Timestamp, Instant)>);

impl LastReport {
    /// Records the report of `holder`, and returns the part of `replica` in the drain.
    pub fn part(&mut self, holder: &Holder, replica: &str, now: Instant) -> Part {
        let Some(report) = holder.drain.as_ref().filter(|report| !report.replica.is_empty() && report.replica != replica) else {
            self.0 = None;
            return Part::Lead;
        };
        match &self.0 {
            Some((known, at, since)) if *known == report.replica && *at == report.at => {
                if now.saturating_duration_since(*since) < SILENCE_MAX { Part::Follow } else { Part::Lead }
            }
            _ => {
                self.0 = Some((report.replica.clone(), report.at, now));
                Part::Follow
            }
        }
    }
}

/// State of a drain as its replica sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainView {
    /// The drain has made progress since the last report ([`crate::drain::Advance`]).
    pub moves: bool,
    /// Reason for which it is blocked.
    pub blocked: Option<String>,
    /// A request of the node waits for its answer here.
    pub held: bool,
}

impl DrainReport {
    /// Creates the first report of `replica`.
    pub fn first(replica: &str, now: Timestamp) -> Self {
        Self { replica: replica.to_owned(), at: now, idle: 0, blocked: None }
    }

    /// Returns the next report, if it is time for one.
    pub fn next(holder: &Holder, replica: &str, view: &DrainView, now: Timestamp) -> Option<Self> {
        let before = holder.drain.as_ref();
        let blocked = view.blocked.as_ref().map(|by| {
            let since = before.and_then(|before| before.blocked.as_ref()).map_or(now, |blocked| blocked.since);
            BlockedDrain { since, by: by.chars().take(BY_MAX).collect() }
        });
        let Some(before) = before else { return Some(Self { blocked, ..Self::first(replica, now) }) };
        let age = now.duration_since(before.at);
        let is_due = before.replica != replica || age.abs() >= REPORT_EVERY;
        // A drain that became blocked or free again is reported at once; the number of pods in the reason may change often.
        let has_changed = before.blocked.is_some() != blocked.is_some();
        // Of another replica's report only the order is known: its clock may differ by a minute.
        let is_own = before.replica == replica;
        let step = if is_own { age.clamp(SignedDuration::ZERO, IDLE_STEP_MAX).as_secs() } else { 0 };
        let idle = if view.moves { 0 } else { before.idle.saturating_add(step) };
        (is_due || has_changed).then(|| Self { replica: replica.to_owned(), at: now, idle, blocked })
    }

    /// Reports whether the drain has made no progress for `limit`.
    pub(super) fn is_stalled(&self, limit: Option<SignedDuration>) -> bool {
        limit.is_some_and(|limit| self.idle >= limit.as_secs())
    }
}

impl LockState {
    /// Hands over the drains of `replica`, which stops, to any other; `None` if it has none.
    pub fn hand_over(&self, replica: &str) -> Option<Self> {
        let mut next = self.clone();
        let mut own: Vec<_> = next.holders.iter_mut().filter_map(|holder| holder.drain.as_mut()).collect();
        own.retain(|report| report.replica == replica);
        let has_any = !own.is_empty();
        own.into_iter().for_each(|report| report.replica.clear());
        has_any.then_some(next)
    }
}

impl Holder {
    /// Reports whether a request that waits for its answer now must be recorded.
    pub fn is_ask_due(&self, now: Timestamp) -> bool {
        now.duration_since(self.last_asked()).abs() >= ASK_EVERY
    }

    /// Returns the last time at which a request of the node is known to have waited for its answer.
    pub fn last_asked(&self) -> Timestamp {
        self.asked.unwrap_or(self.since)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(idle: &i64) -> bool {
    *idle == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeName, Uid};
    use crate::fleetlock::GroupName;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A holder whose drain was reported last by the replica `a`, at second 1,000.
    fn holder(drain: impl FnOnce(&mut DrainReport)) -> Holder {
        let uid = Uid("1".to_owned());
        let lock = LockState::default().take(&NodeName("n".to_owned()), &uid, &GroupName::parse("g").unwrap(), at(900));
        let mut report = DrainReport::first("a", at(1_000));
        drain(&mut report);
        lock.report(&uid, report, false).holders.remove(0)
    }

    fn view(blocked: Option<&str>, moves: bool) -> DrainView {
        DrainView { moves, blocked: blocked.map(str::to_owned), held: false }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant comes from the clock alone; nothing is measured")]
    fn one_replica_leads_until_it_reports_nothing_new_for_25_seconds() {
        let (begun, seconds) = (Instant::now(), Duration::from_secs);
        let drained = holder(|_| {});
        let mut last = LastReport::default();
        assert_eq!(last.part(&drained, "a", begun), Part::Lead);
        // The clocks of the replicas do not matter, only whether the report changes.
        let newer = holder(|report| report.at = at(500));
        for (second, seen, part) in [
            (0, &drained, Part::Follow),
            (24, &drained, Part::Follow),
            (25, &drained, Part::Lead),
            (26, &newer, Part::Follow),
            (50, &newer, Part::Follow),
            (51, &newer, Part::Lead),
        ] {
            assert_eq!(last.part(seen, "b", begun + seconds(second)), part, "{second}");
        }
        let of = |drain: Option<DrainReport>| Holder { drain, ..drained.clone() };
        assert_eq!(last.part(&of(None), "b", begun), Part::Lead);
        assert_eq!(last.part(&of(Some(DrainReport::first("c", at(500)))), "b", begun + seconds(60)), Part::Follow);
        let lock = LockState { holders: vec![drained.clone()], ..LockState::default() };
        assert_eq!(last.part(&lock.hand_over("a").unwrap().holders[0], "b", begun), Part::Lead);
        assert_eq!(lock.hand_over("b"), None);
    }

    #[test]
    fn a_report_is_due_after_ten_seconds_or_a_change() {
        let (free, blocked) = (view(None, false), view(Some("x"), false));
        let is_due = |replica, view: &DrainView, now| DrainReport::next(&holder(|_| {}), replica, view, at(now)).is_some();
        assert!(!is_due("a", &free, 1_009) && is_due("a", &free, 1_010));
        assert!(is_due("b", &free, 1_001), "another replica continues");
        assert!(is_due("a", &blocked, 1_001));
        let was_blocked = holder(|report| report.blocked = Some(BlockedDrain { since: at(950), by: "y".to_owned() }));
        assert!(DrainReport::next(&was_blocked, "a", &blocked, at(1_001)).is_none(), "the words may change often");
        assert!(DrainReport::next(&was_blocked, "a", &free, at(1_001)).is_some());
        let next = DrainReport::next(&Holder { drain: None, ..was_blocked }, "b", &free, at(1_001)).unwrap();
        assert_eq!(next, DrainReport::first("b", at(1_001)));
    }

    #[test]
    fn a_drain_is_blocked_since_its_first_refusal_at_whichever_replica() {
        let was_blocked = holder(|report| report.blocked = Some(BlockedDrain { since: at(950), by: "y".to_owned() }));
        let next =
            |holder: &Holder| DrainReport::next(holder, "b", &view(Some(&"z".repeat(999)), false), at(1_100)).unwrap().blocked.unwrap();
        assert_eq!((next(&was_blocked).since, next(&was_blocked).by.len()), (at(950), BY_MAX));
        assert_eq!(next(&holder(|_| {})).since, at(1_100));
    }

    #[test]
    fn only_time_that_a_replica_has_watched_counts_as_time_without_progress() {
        let stood = holder(|report| report.idle = 100);
        let idle = |replica, moves, now| DrainReport::next(&stood, replica, &view(None, moves), at(now)).unwrap().idle;
        assert_eq!((idle("a", false, 1_010), idle("a", false, 1_060), idle("a", true, 1_010)), (110, 160, 0));
        assert_eq!(idle("a", false, 99_999), 160, "no replica watched");
        assert_eq!(idle("a", false, 0), 100, "a clock was wrong");
        assert_eq!((idle("b", false, 1_060), idle("b", true, 1_060)), (100, 0), "its clock may be another one");
        let limit = Some(SignedDuration::from_secs(100));
        assert!(stood.drain.as_ref().unwrap().is_stalled(limit) && !DrainReport::first("a", at(0)).is_stalled(limit));
        assert!(!stood.drain.unwrap().is_stalled(None));
    }

    #[test]
    fn a_request_is_recorded_with_a_report_or_after_a_minute() {
        let drained = holder(|_| {});
        assert_eq!(drained.last_asked(), at(900));
        assert!(!drained.is_ask_due(at(959)) && drained.is_ask_due(at(960)));
        let uid = drained.uid.clone();
        let lock = LockState { holders: vec![drained], ..LockState::default() };
        let asked = |held| lock.report(&uid, DrainReport::first("a", at(990)), held).holders[0].last_asked();
        assert_eq!((asked(true), asked(false)), (at(990), at(900)));
    }

    #[test]
    fn a_first_report_says_what_blocks_the_drain() {
        let unreported = Holder { drain: None, ..holder(|_| {}) };
        let first = DrainReport::next(&unreported, "b", &view(Some("x"), false), at(1_001)).unwrap();
        let blocked = Some(BlockedDrain { since: at(1_001), by: "x".to_owned() });
        assert_eq!(first, DrainReport { blocked, ..DrainReport::first("b", at(1_001)) });
    }

    #[test]
    fn the_time_without_progress_is_written_unless_it_is_none() {
        for (idle, written) in [(0, None), (70, Some(70))] {
            let report = DrainReport { idle, ..DrainReport::first("a", at(1_000)) };
            let wire = serde_json::to_value(&report).unwrap();
            assert_eq!(wire.get("idle").and_then(serde_json::Value::as_i64), written);
            assert_eq!(serde_json::from_value::<DrainReport>(wire).unwrap(), report);
        }
    }
}
