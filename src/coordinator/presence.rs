//! State of the client of a request: connected, or gone. No reboot is approved for a client that has hung up, because the answer is
//! lost and the slot is blocked until the node asks again.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::NodeName;
use crate::fleetlock::Kind;
use crate::reboot::{Outcome, Step};
use crate::system::guarded::Guarded;

/// The connection records that its client has hung up, and the request checks that before each read and write.
#[derive(Default)]
pub struct Presence {
    gone: AtomicBool,
    notice: Guarded<Option<Notice>>,
}

/// Function to call when the client hangs up.
type Notice = Box<dyn FnOnce() + Send>;

impl Presence {
    /// Records that the client has hung up.
    pub fn hang_up(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Reports whether the client has hung up.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Calls `notice` when the client hangs up, or now if it has. A new notice replaces the former one.
    pub(super) fn when_gone(&self, notice: impl FnOnce() + Send + 'static) {
        *self.notice.lock() = Some(Box::new(notice));
        if self.is_gone() {
            self.notify();
        }
    }

    fn notify(&self) {
        let notice = self.notice.lock().take();
        if let Some(notice) = notice {
            notice();
        }
    }

    /// Returns `step`, or the answer for a client that has hung up if the step reads or writes. So the request ends after its current
    /// call, and nothing is approved for it.
    pub(super) fn cancel_if_gone(&self, step: Step, node: &NodeName) -> Step {
        match step {
            Step::Change(_) | Step::Read(_) if self.is_gone() => Step::Answer(Outcome::refused(Kind::BadRequest, hung_up(node))),
            step => step,
        }
    }
}

/// Creates the message for a client that has closed only its own side.
pub(super) fn hung_up(node: &NodeName) -> String {
    format!("the client of node {node} closed its side of the connection before the answer; it must keep the connection open")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_hang_up_is_noticed_once_whichever_comes_first() {
        for gone_before in [false, true] {
            let (presence, notices) = (Presence::default(), Arc::new(AtomicUsize::new(0)));
            if gone_before {
                presence.hang_up();
            } else {
                presence.when_gone(|| panic!("its place was taken"));
            }
            let counted = Arc::clone(&notices);
            presence.when_gone(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!((presence.is_gone(), notices.load(Ordering::SeqCst)), (gone_before, usize::from(gone_before)));
            presence.hang_up();
            presence.hang_up();
            assert_eq!((presence.is_gone(), notices.load(Ordering::SeqCst)), (true, 1));
        }
    }
}
