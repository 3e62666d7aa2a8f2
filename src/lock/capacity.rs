//! Number of nodes that may be unavailable at once, for every rule about slots.

use super::Holder;

/// Maximum number of slots, so that the lock fits into the annotations of a Lease.
pub const SLOTS_MAX: u16 = 220;

/// The slots of all groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// `--slots`; from 1 to [`SLOTS_MAX`].
    pub slots: usize,
}

impl Capacity {
    /// Returns how many nodes may be unavailable beside the `holders` of slots.
    pub fn room<'a>(self, holders: impl IntoIterator<Item = &'a Holder>) -> usize {
        self.slots.saturating_sub(holders.into_iter().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeName, Uid};
    use crate::fleetlock::GroupName;
    use crate::lock::LockState;

    #[test]
    fn room_is_what_the_holders_leave_and_never_negative() {
        let (group, now) = (GroupName::parse("default").unwrap(), jiff::Timestamp::UNIX_EPOCH);
        let mut lock = LockState::default();
        for (holders, room) in [2, 1, 0, 0].into_iter().enumerate() {
            assert_eq!(Capacity { slots: 2 }.room(&lock.holders), room, "{holders} holders");
            lock = lock.take(&NodeName(format!("n{holders}")), &Uid(format!("u{holders}")), &group, now);
        }
    }
}
