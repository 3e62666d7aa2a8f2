//! The rules: from the facts seen so far to the one next step.
//!
//! Each rule set ([`pre_reboot`], [`steady_state`], [`reconcile`]) is a pure, level-triggered function without a place in a
//! procedure, so a crash anywhere means no more than asking again. `coordinator` performs the steps and records each result in
//! [`Observed`].
//!
//! The safety rests on this: **every 200 to a pre-reboot is a compare-and-swap on the Lease**, made after the node was seen
//! cordoned and then seen empty; and every release of a slot is one too. If an approval and a release race, one fails and
//! looks again.

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
pub use observed::{Fact, FleetFacts, HeldTerm, Lock, Observed, Others, Seen};
pub use outcome::{Outcome, Settled};
pub use rules::{Caller, Now, Rules};
pub use step::{Drain, Question, Step, Wait};
