//! The same world at random: longer walks, with more at once and more that goes wrong than can be walked whole.
//!
//! Whatever the order, whichever replica dies, whatever answer is lost: each promise holds after each move. And once nothing goes
//! wrong any more, all nodes reboot as often as wanted, and nothing is left. The walks are the same each time, so that a change is
//! stopped by what it breaks; `scripts/model` takes others, and more.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

use crate::explore::{Describe, Model};
use crate::liveness::Ways;
use crate::moves;
use crate::mutations::{self, Mutation};
use crate::setup::{Allowance, Event, FAILURES, Setup};
use crate::world::{Stage, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..config() })]

    #[test]
    fn promises_hold(numbers in numbers()) {
        prop_assert_eq!(play(None, None, &numbers), Ok(()));
    }

    #[test]
    fn promises_hold_when_the_lease_is_deleted(numbers in numbers()) {
        prop_assert_eq!(play(Some(Event::LeaseDeletion), None, &numbers), Ok(()));
    }

    #[test]
    fn promises_hold_when_slots_are_given_back(numbers in numbers()) {
        prop_assert_eq!(play(Some(Event::Standstill), None, &numbers), Ok(()));
    }

    #[test]
    fn promises_hold_when_nodes_fail_for_good(numbers in numbers()) {
        prop_assert_eq!(play(Some(Event::Departure), None, &numbers), Ok(()));
    }

    #[test]
    fn promises_hold_beside_an_annotation_only_manager(numbers in numbers()) {
        prop_assert_eq!(play(Some(Event::Older), None, &numbers), Ok(()));
    }
}

/// Each rule that is broken is found out at random, too, also the one of which nothing comes in a small world.
#[test]
fn broken_rules_are_detected_at_random() {
    let config = ProptestConfig { cases: 4_000, max_shrink_iters: 0, ..config() };
    for (mutation, ..) in mutations::table() {
        let beside = match mutation {
            // Without it, another rule frees the slot later.
            Mutation::NeverFreesTheNotReady => continue,
            Mutation::DoesNotLookAgain | Mutation::DoesNotWaitForItsOwnWrite => Some(Event::Older),
            Mutation::RestoresWithoutACheckIn | Mutation::ServesOlderRequests => Some(Event::Standstill),
            Mutation::NeverFreesTheMissing
            | Mutation::NeverFreesTheReinstalled
            | Mutation::NeverFreesTheSilent
            | Mutation::NeverGivesUp
            | Mutation::NeverPassesTheAbsent
            | Mutation::NeverWithdraws
            | Mutation::KeepsTheCheckedIn => Some(Event::Departure),
            _ => None,
        };
        let found = TestRunner::new(config.clone()).run(&numbers(), |numbers| {
            prop_assert_eq!(play(beside, Some(mutation), &numbers), Ok(()));
            Ok(())
        });
        assert!(matches!(found, Err(TestError::Fail(..))), "{mutation:?} was not found out: {found:?}");
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(0), ..ProptestConfig::default() }
}

fn numbers() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(any::<u32>(), 0..400)
}

/// The first numbers choose a world: where fewer things can happen, more comes of each. Each of the others chooses a move; then others
/// follow, of which none goes wrong, until all agents are done. The event `beside` may happen at least once.
fn play(beside: Option<Event>, mutation: Option<Mutation>, numbers: &[u32]) -> Result<(), String> {
    let mut numbers = numbers.iter().copied();
    let setup = Setup { mutation, ..setup(beside, &mut numbers) };
    let mut walk = Walk::of(setup, Describe::No);
    if walk.through(numbers.clone()).is_ok() {
        return Ok(());
    }
    walk = Walk::of(setup, Describe::Yes);
    walk.through(numbers).map_err(|broken| format!("{broken}\n{setup:?}\n{}", walk.trace.join("\n")))
}

fn setup(beside: Option<Event>, mut numbers: impl Iterator<Item = u32>) -> Setup {
    let mut up_to = |most: u8| u8::try_from(numbers.next().unwrap_or(0) % (u32::from(most) + 1)).unwrap();
    let sizes = [2, 1, 2, 2, 5, 2].map(&mut up_to);
    let [prompt, time, late, control_plane, cordoned, first] = [1; 6].map(|most| up_to(most) == 1);
    let mut often = |most| if up_to(1) == 0 { 0 } else { up_to(most) };
    let mut may = Allowance(Event::ALL.map(|(_, most)| if most == 0 { 0 } else { often(most) }));
    let never: &[Event] = match beside {
        // With the Lease goes all that is known of an approved node whose Node is deleted, too, or that asks again.
        Some(Event::LeaseDeletion) => &[Event::NodeDeletion, Event::SecondThought],
        Some(Event::Standstill) => &[],
        // An annotation-only manager knows only the annotations of the Nodes that are there, and what an administrator undoes is undone.
        Some(_) => &[Event::NodeDeletion, Event::Uncordon],
        None => &[],
    };
    if let Some(event) = beside {
        may.set([(event, 1 + often(2))]);
    }
    let gives_back = beside == Some(Event::Standstill) || (beside == Some(Event::Departure) && often(3) > 0);
    if beside == Some(Event::Standstill) {
        may.set([(Event::Silence, often(2))]);
    }
    never.iter().for_each(|event| may.set([(*event, 0)]));
    if beside == Some(Event::Departure) {
        FAILURES.iter().for_each(|event| may.set([(*event, often(1))]));
    }
    if may.left(Event::Uncordon) > 0 {
        // A node that asks again after it was uncordoned begins a new term, and with that goes what was known of its approval.
        may.set([(Event::LoneNotFound, 0), (Event::NodeDeletion, 0)]);
    }
    if may.left(Event::NodeDeletion) > 0 && !gives_back {
        // So does a node that asks again after its Node was recreated.
        may.set([(Event::SecondThought, 0)]);
    }
    let is_older = beside == Some(Event::Older);
    // An agent that asks before its kubelet has reported the boot after a crash: docs/development/proof.md.
    let is_crashing = may.left(Event::Crash) > 0;
    // A node of the control plane that an administrator has cordoned keeps all others waiting.
    let control_plane = control_plane && beside.is_none() && may.left(Event::Cordon) == 0;
    let [nodes, slots, pods, reboots, requests, reconcilers] = sizes;
    Setup {
        nodes: if is_older { 1 } else { 1 + usize::from(nodes) },
        older: is_older.then_some(if first { "a" } else { "z" }),
        slots: if is_older { 1 } else { 1 + usize::from(slots) },
        pods,
        reboots: 1 + reboots,
        requests: 1 + usize::from(requests),
        reconcilers: 1 + usize::from(reconcilers),
        prompt: prompt || is_crashing || gives_back || beside == Some(Event::Departure),
        time,
        late,
        control_plane,
        gives_back,
        cordoned: if cordoned && !control_plane { &[0] } else { &[] },
        may,
        mutation: None,
    }
}

struct Walk {
    stage: Stage,
    world: World,
    describe: Describe,
    trace: Vec<String>,
}

impl Walk {
    fn of(setup: Setup, describe: Describe) -> Self {
        let stage = Stage::new(setup);
        Self { world: stage.world(), stage, describe, trace: Vec::new() }
    }

    fn through(&mut self, choices: impl Iterator<Item = u32>) -> Result<(), String> {
        for choice in choices {
            self.step(choice)?;
        }
        self.follow()?;
        if self.stage.may_fail() {
            return Ok(());
        }
        // Two nodes that a deleted Lease has left behind may hold one slot, as if both had been approved, until an agent restarts.
        let restarts = if self.world.lease_deleted { u8::MAX } else { 0 };
        self.world.may = Allowance::default();
        self.world.may.set([(Event::Restart, restarts)]);
        self.stage.setup.time = true;
        // A linear congruential generator: Numerical Recipes.
        let harmless = std::iter::successors(Some(1u32), |number| Some(number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
        for choice in harmless.take(STEPS_MAX) {
            if self.stage.is_goal(&self.world) {
                return Ok(());
            }
            self.step(choice >> 8)?;
        }
        Err("no way to an end".to_owned())
    }

    /// Follows the way to an end on which each node that keeps asking is approved.
    fn follow(&mut self) -> Result<(), String> {
        if self.world.lease_deleted {
            return Ok(());
        }
        let followed = self.stage.follow(&self.world, &mut Ways::default());
        // A node that fails takes its turn again after each pause, of which each is twice as long.
        let wrong = followed.map_or_else(Some, |way| self.stage.too_long(&self.world, way, 2));
        wrong.map_or(Ok(()), |(broken, mut steps)| {
            self.trace.append(&mut steps);
            Err(broken)
        })
    }

    fn step(&mut self, choice: u32) -> Result<(), String> {
        let Some(taken) = moves::one(&self.stage, &self.world, self.describe, choice) else { return Ok(()) };
        self.world = taken.to;
        if self.world.lease_deleted {
            // An old check-in finds no slot then, and may undo the cordon.
            (0..self.stage.setup.nodes).for_each(|machine| self.world.machine(machine).kept = false);
        }
        if self.describe == Describe::Yes {
            self.trace.push(format!("{}  [{}]", taken.what, self.stage.show(&self.world)));
        }
        self.stage.wrong(&self.world).map_or(Ok(()), Err)
    }
}

/// Many times as many as it takes.
const STEPS_MAX: usize = 20_000;
