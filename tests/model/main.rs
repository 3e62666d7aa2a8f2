//! The shipped rules, run in every order there is, within bounds: an explicit-state model checker.
//!
//! `explore` walks all states of a model, breadth first. `world` is the model of a cluster in which `reboot::pre_reboot`,
//! `reboot::steady_state` and `reboot::reconcile` run as they ship; `seed` is the rule of annotation-only managers, which has a
//! hole; `mutations` breaks our own rules, to show that the checker notices. docs/development/proof.md says what is proven and how
//! to run more of it.

#![expect(clippy::unwrap_used, reason = "a test ends when something is not as expected")]

mod actor;
mod environment;
mod explore;
mod key;
mod liveness;
mod moves;
mod mutations;
mod promises;
mod random;
mod runs;
mod seed;
mod setup;
mod world;
