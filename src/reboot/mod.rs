//! The rules: from the facts known so far to the one next step.
//!
//! Each rule set ([`pre_reboot`], [`steady_state`], [`reconcile`]) is a pure, level-triggered function. It keeps no position in a
//! procedure, so after a crash at any point the same question is asked again. `coordinator` performs the steps and records each
//! result in [`Observed`].
//!
//! Safety: **every 200 to a pre-reboot is a compare-and-swap on the Lease**, made after the node was seen cordoned and then
//! empty. Every release of a slot is a compare-and-swap, too. If an approval and a release race, one fails and reads again.

mod change;
mod evidence;
mod gates;
mod observed;
mod outcome;
pub mod pre_reboot;
pub mod reconcile;
mod rules;
pub mod steady_state;
mod step;

#[cfg(test)]
mod tests;

pub use change::{Change, LockChange, NodeChange};
pub use evidence::{Approval, Cordoned, Emptied, HeldSlot, PROOF_AGE_MAX, Stale};
pub use observed::{Fact, FleetFacts, HeldTerm, Lock, Observed, Others, Reading};
pub use outcome::{Outcome, Settled};
pub use rules::{Caller, Now, Rules};
pub use step::{Drain, Question, SlotWait, Step, Wait};
