//! Back-off of nodes that gave a slot back: until when, why, and how often in a row. It is kept in the Lease, so it is the same for all
//! replicas and survives restarts.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::LockState;
use crate::cluster::NodeName;

/// Longest pause. An ended deferral is remembered for as long, so that the next one of its node is longer.
pub const DEFERRED_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Maximum number of deferrals. With its message, each takes up to 400 bytes of the Lease, whose annotations may have 256 KiB.
const DEFERRALS_MAX: usize = 100;

/// Maximum length of a message, in characters.
const DETAIL_MAX: usize = 250;

/// A node that must wait before it may take a slot again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Deferral {
    /// The node's name.
    pub node: NodeName,
    /// Reason for the back-off.
    pub reason: DeferReason,
    /// Number of deferrals in a row, this one included.
    pub count: u32,
    /// Time at which the slot was given back.
    pub since: Timestamp,
    /// Time at which the node may take a slot again.
    pub until: Timestamp,
    /// Details for a person, as which pod blocked the drain; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Reason for a back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeferReason {
    /// A person marked the node Ready while it was being drained.
    CalledOff,
    /// The drain made no progress.
    GaveUp,
    /// The node was approved, kept asking and did not reboot.
    NeverRebooted,
    /// The node's kubelet was not Ready while the node held the slot.
    NotReady,
    /// The node rebooted and runs the same OS image as before.
    UpdateNotApplied,
    /// Recorded by a later version.
    #[serde(other)]
    Other,
}

impl LockState {
    /// Returns the deferral of `node` that has not ended.
    pub fn deferral(&self, node: &NodeName, now: Timestamp) -> Option<&Deferral> {
        // A deferral that would last for longer than any is from a replica whose clock was ahead.
        let holds = |deferral: &&Deferral| now < deferral.until && deferral.until.duration_since(now) <= DEFERRED_MAX;
        self.deferrals.iter().find(|deferral| deferral.node == *node && holds(deferral))
    }

    /// Defers `node` for `first`, or for twice as long as the last time, up to [`DEFERRED_MAX`].
    pub(super) fn defer(&mut self, node: &NodeName, reason: DeferReason, detail: &str, first: SignedDuration, now: Timestamp) {
        self.deferrals.retain(|deferral| now.duration_since(deferral.until) < DEFERRED_MAX);
        let before = self.deferrals.iter().find(|deferral| deferral.node == *node).map_or(0, |deferral| deferral.count);
        let count = before.saturating_add(1);
        let until = now.checked_add(back_off(first, count)).unwrap_or(Timestamp::MAX);
        let detail = detail.chars().take(DETAIL_MAX).collect();
        self.undefer(node);
        self.deferrals.push(Deferral { node: node.clone(), reason, count, since: now, until, detail });
        if self.deferrals.len() > DEFERRALS_MAX
            && let Some((first, _)) = self.deferrals.iter().enumerate().min_by_key(|(_, deferral)| deferral.until)
        {
            self.deferrals.remove(first);
        }
    }

    /// Forgets the deferrals of `node`, whose last reboot was a success.
    pub(super) fn undefer(&mut self, node: &NodeName) {
        self.deferrals.retain(|deferral| deferral.node != *node);
    }
}

/// Returns the length of the deferral with this number in a row, from 1 on.
fn back_off(first: SignedDuration, count: u32) -> SignedDuration {
    let factor = 1i32.checked_shl(count - 1).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
    first.checked_mul(factor).unwrap_or(DEFERRED_MAX).min(DEFERRED_MAX)
}

/// Displayed as the clause that ends "node worker-3 must wait until 2026-…: ", with the next step of a person.
impl fmt::Display for Deferral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, detail, .. } = self;
        match self.reason {
            DeferReason::CalledOff => write!(f, "its drain was called off at {since:.0}, by marking the node Ready")?,
            DeferReason::GaveUp => write!(f, "its drain was given up at {since:.0}, because it made no progress")?,
            DeferReason::NeverRebooted => write!(
                f,
                "its approval was withdrawn at {since:.0}, because it kept asking and did not reboot; \
                 see `journalctl -u zincati` on the node"
            )?,
            DeferReason::NotReady => {
                write!(
                    f,
                    "its drain was given up at {since:.0}, because the node was not Ready; see `kubectl describe node {}`",
                    self.node
                )?;
            }
            DeferReason::Other => write!(f, "it gave its slot back at {since:.0}")?,
            DeferReason::UpdateNotApplied => {
                write!(
                    f,
                    "it rebooted and runs the same OS image as before, so its update was not applied; see `rpm-ostree status` on the node"
                )?;
            }
        }
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn node(name: &str) -> NodeName {
        NodeName(name.to_owned())
    }

    const FIRST: SignedDuration = SignedDuration::from_mins(30);

    #[test]
    fn each_deferral_in_a_row_is_twice_as_long_up_to_a_day() {
        let mut lock = LockState::default();
        let mut now = 0;
        for minutes in [30, 60, 120, 240, 480, 960, 1440, 1440, 1440] {
            lock.defer(&node("a"), DeferReason::GaveUp, "", FIRST, at(now));
            assert!(lock.deferral(&node("a"), at(now + minutes - 1)).is_some(), "{minutes}");
            now += minutes;
            assert_eq!(lock.deferral(&node("a"), at(now)), None, "{minutes}");
        }
        assert_eq!(lock.deferrals.len(), 1);
    }

    #[test]
    fn a_count_that_is_too_large_to_double_means_a_day() {
        for count in [31, 32, 33, u32::MAX] {
            let before =
                Deferral { node: node("a"), reason: DeferReason::GaveUp, count, since: at(0), until: at(1), detail: String::new() };
            let mut lock = LockState { deferrals: vec![before], ..LockState::default() };
            lock.defer(&node("a"), DeferReason::GaveUp, "", FIRST, at(2));
            assert_eq!(lock.deferrals[0].until, at(2 + 1440), "{count}");
        }
    }

    #[test]
    fn a_success_or_a_quiet_day_forgets_the_deferrals() {
        let mut lock = LockState::default();
        lock.defer(&node("a"), DeferReason::GaveUp, "", FIRST, at(0));
        lock.defer(&node("b"), DeferReason::NotReady, "", FIRST, at(0));
        lock.undefer(&node("a"));
        assert_eq!(lock.deferral(&node("a"), at(1)), None);
        assert!(lock.deferral(&node("b"), at(1)).is_some());
        lock.defer(&node("c"), DeferReason::NotReady, "", FIRST, at(30 + 1440));
        assert_eq!(lock.deferrals.iter().map(|deferral| deferral.node.as_str()).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn the_deferral_that_ends_first_makes_room() {
        let mut lock = LockState::default();
        for number in 0..i64::try_from(DEFERRALS_MAX).unwrap() + 1 {
            lock.defer(&node(&format!("n{number}")), DeferReason::GaveUp, &"x".repeat(1000), FIRST, at(number % 7));
        }
        assert_eq!(lock.deferrals.len(), DEFERRALS_MAX);
        assert!(lock.deferrals.iter().all(|deferral| deferral.node != node("n0") && deferral.detail.len() == DETAIL_MAX));
    }

    #[test]
    fn each_reason_has_its_own_words_and_a_later_one_is_read() {
        let text = |reason: &str| {
            let json = format!(
                r#"{{"node":"a","reason":"{reason}","count":1,"since":"2026-01-01T00:00:00Z","until":"2026-01-01T00:30:00Z","detail":"x"}}"#
            );
            serde_json::from_str::<Deferral>(&json).unwrap().to_string()
        };
        let words = ["called_off", "gave_up", "never_rebooted", "not_ready", "update_not_applied", "tired"].map(text);
        assert_eq!(words.iter().collect::<std::collections::BTreeSet<_>>().len(), words.len());
        assert!(words.iter().all(|words| words.ends_with(" (x)")), "{words:?}");
    }
}
