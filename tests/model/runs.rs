//! What is walked, and what must come of it. Each test walks a small world by default, and a wider one with
//! `MODEL=wide`, as `scripts/model` has it.

use std::time::Instant;

use crate::explore::{Counterexample, Explored, explore};
use crate::mutations::Mutation;
use crate::world::{Allowance, Setup, Stage, View};

/// Nothing goes wrong.
const CALM: Allowance = Allowance {
    deaths: 0,
    faults: 0,
    late_writes: 0,
    second_calls: 0,
    restarts: 0,
    second_thoughts: 0,
    cordons: 0,
    uncordons: 0,
    arrivals: 0,
    lease_deletions: 0,
    lost_annotations: 0,
    lone_not_founds: 0,
    node_deletions: 0,
    older: 0,
};

/// Two nodes want the one slot.
const PAIR: Setup = Setup {
    nodes: 2,
    older: None,
    slots: 1,
    pods: 0,
    reboots: 1,
    requests: 2,
    reconcilers: 1,
    prompt: false,
    time: false,
    view: View::Now,
    control_plane: false,
    cordoned: &[],
    may: CALM,
    mutation: None,
};

/// World of one node whose own requests overtake each other.
const ONE: Setup = Setup { nodes: 1, ..PAIR };

/// World of one node beside one of an annotation-only manager.
const OLDER: Setup = Setup { older: Some("z"), view: View::Late, ..ONE };

#[test]
fn two_nodes_and_replicas_that_die() {
    let small = Setup { pods: 1, may: Allowance { deaths: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { reconcilers: 2, may: Allowance { deaths: 2, faults: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_and_writes_that_fail_or_lose_their_answer() {
    let small = Setup { may: Allowance { faults: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { pods: 1, view: View::Late, may: Allowance { faults: 2, late_writes: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_and_a_write_that_comes_late() {
    let small = Setup { may: Allowance { late_writes: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { may: Allowance { late_writes: 2, deaths: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_that_call_again_before_they_are_answered() {
    let small = Setup { reconcilers: 0, prompt: true, may: Allowance { second_calls: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { reconcilers: 1, prompt: false, ..small.clone() });
}

#[test]
fn two_nodes_and_administrators() {
    let may = Allowance { cordons: 1, uncordons: 1, ..CALM };
    let small = Setup { cordoned: &[1], reconcilers: 0, prompt: true, may, ..PAIR };
    holds(&small, &Setup { reconcilers: 1, prompt: false, may: Allowance { arrivals: 1, ..may }, ..small.clone() });
}

#[test]
fn two_nodes_and_a_deleted_lease() {
    let may = Allowance { lease_deletions: 1, ..CALM };
    let small = Setup { requests: 1, may, ..PAIR };
    holds(&small, &Setup { requests: 2, view: View::Late, ..small.clone() });
}

#[test]
fn two_nodes_and_a_deleted_node() {
    let small = Setup { requests: 1, prompt: true, may: Allowance { node_deletions: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { requests: 2, prompt: false, ..small.clone() });
}

#[test]
fn two_nodes_and_one_that_is_not_found_for_once() {
    let small = Setup { requests: 1, prompt: true, may: Allowance { lone_not_founds: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { prompt: false, may: Allowance { lone_not_founds: 1, deaths: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_and_a_lease_that_loses_its_annotation() {
    let small = Setup { requests: 1, may: Allowance { lost_annotations: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { requests: 2, may: Allowance { lost_annotations: 1, lease_deletions: 1, faults: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_of_the_control_plane_and_two_slots() {
    let small = Setup { slots: 2, control_plane: true, may: Allowance { deaths: 1, ..CALM }, ..PAIR };
    holds(&small, &Setup { pods: 1, view: View::Late, may: Allowance { deaths: 1, faults: 1, ..CALM }, ..small.clone() });
}

#[test]
fn two_nodes_and_annotations_that_are_seen_late() {
    let small = Setup { view: View::Late, ..PAIR };
    let small = Setup { may: Allowance { deaths: 1, ..CALM }, ..small };
    holds(&small, &Setup { pods: 1, may: Allowance { restarts: 1, deaths: 1, ..CALM }, ..small.clone() });
}

#[test]
fn three_nodes_and_two_slots() {
    let small = Setup { nodes: 3, slots: 2, reconcilers: 0, prompt: true, ..PAIR };
    holds(&small, &Setup { may: Allowance { deaths: 1, ..CALM }, ..small.clone() });
}

#[test]
fn three_nodes_and_one_slot() {
    let small = Setup { nodes: 3, prompt: true, ..PAIR };
    holds(&small, &Setup { may: Allowance { deaths: 1, ..CALM }, ..small.clone() });
}

#[test]
fn one_node_whose_own_requests_overtake_each_other() {
    let may = Allowance { second_calls: 1, restarts: 1, ..CALM };
    let small = Setup { may, ..ONE };
    holds(&small, &Setup { may: Allowance { second_thoughts: 1, deaths: 1, ..may }, ..small.clone() });
}

#[test]
fn one_node_that_reboots_twice_and_whose_check_in_is_overtaken() {
    let small = Setup { reboots: 2, reconcilers: 0, may: Allowance { second_calls: 1, ..CALM }, ..ONE };
    holds(&small, &Setup { reconcilers: 1, may: Allowance { second_calls: 2, ..CALM }, ..small.clone() });
}

#[test]
fn one_node_that_is_deleted_and_registered_again_and_whose_request_is_overtaken() {
    let may = Allowance { node_deletions: 1, second_calls: 1, ..CALM };
    let small = Setup { reconcilers: 0, prompt: true, may, ..ONE };
    holds(&small, &Setup { reconcilers: 1, prompt: false, may: Allowance { deaths: 1, ..may }, ..small.clone() });
}

#[test]
fn one_node_that_checks_in_without_a_reboot() {
    let may = Allowance { restarts: 1, ..CALM };
    let small = Setup { requests: 1, time: true, may, ..ONE };
    holds(&small, &Setup { requests: 2, may: Allowance { second_thoughts: 1, deaths: 1, faults: 1, ..may }, ..small.clone() });
}

#[test]
fn one_node_that_asks_again_after_its_approval() {
    let may = Allowance { second_thoughts: 1, second_calls: 1, uncordons: 1, ..CALM };
    let small = Setup { may, ..ONE };
    holds(&small, &Setup { may: Allowance { restarts: 1, faults: 1, deaths: 1, ..may }, ..small.clone() });
}

#[test]
fn one_node_and_all_actions_of_administrators() {
    let may = Allowance { cordons: 1, uncordons: 1, arrivals: 1, deaths: 1, ..CALM };
    let small = Setup { pods: 1, may, ..ONE };
    let may = Allowance { faults: 1, second_calls: 1, ..may };
    holds(&small, &Setup { reboots: 2, may, ..small.clone() });
}

#[test]
fn one_node_that_reboots_twice_with_faults() {
    let may = Allowance { faults: 1, late_writes: 1, deaths: 1, ..CALM };
    let small = Setup { reboots: 2, may, ..ONE };
    holds(&small, &Setup { reconcilers: 2, may: Allowance { faults: 2, restarts: 1, ..may }, ..small.clone() });
}

#[test]
fn beside_an_annotation_only_manager_whose_node_comes_last() {
    let may = Allowance { older: 1, second_calls: 1, ..CALM };
    let small = Setup { may, ..OLDER };
    let may = Allowance { deaths: 1, ..may };
    holds(&small, &Setup { reconcilers: 1, prompt: false, may, ..small.clone() });
}

#[test]
fn beside_an_annotation_only_manager_whose_node_comes_first() {
    let may = Allowance { older: 1, second_calls: 1, ..CALM };
    let small = Setup { older: Some("a"), may, ..OLDER };
    let small = Setup { reconcilers: 0, prompt: true, ..small };
    let may = Allowance { deaths: 1, ..may };
    holds(&small, &Setup { reconcilers: 1, prompt: false, may, ..small.clone() });
}

/// Each rule that is broken is found out, in a world as small as may be.
#[test]
fn broken_rules_are_detected() {
    let pods = Setup { pods: 1, ..PAIR };
    let arrival = Setup { may: Allowance { arrivals: 1, ..CALM }, ..ONE };
    let overtaken = Setup { may: Allowance { second_calls: 1, restarts: 1, ..CALM }, ..ONE };
    let older = Setup { may: Allowance { older: 1, ..CALM }, ..OLDER };
    let cordoned = Setup { cordoned: &[0], ..ONE };
    let not_found = Setup { may: Allowance { lone_not_founds: 1, ..CALM }, ..ONE };
    let plane = Setup { slots: 2, control_plane: true, ..PAIR };
    let lost = Setup { may: Allowance { lost_annotations: 1, ..CALM }, ..PAIR };
    let table = [
        (Mutation::ApprovesByAnOldList, arrival, "with pods left"),
        (Mutation::ApprovesWithoutWriting, ONE, "has no slot any more"),
        (Mutation::DoesNotList, pods, "with pods left"),
        (Mutation::DoesNotLookAgain, older.clone(), "may reboot at once"),
        (Mutation::DoesNotWaitForItsOwnWrite, older, "may reboot at once"),
        (Mutation::ForgetsWhoseCordonItIs, cordoned.clone(), "the administrator's cordon"),
        (Mutation::FreesAfterAWhile, Setup { time: true, ..ONE }, "has no slot any more"),
        (Mutation::FreesWhenTheNodeIsGone, not_found, "has no slot any more"),
        (Mutation::IgnoresTheControlPlane, plane, "may reboot at once"),
        (Mutation::MarksWithoutCordon, ONE, "no way to an end"),
        (Mutation::NeverLooksAgain, PAIR, "no way to an end"),
        (Mutation::NeverSuperseded, overtaken, "PROMISE BROKEN"),
        (Mutation::OverwritesWhateverIsThere, PAIR, "PROMISE BROKEN"),
        (Mutation::RestoresHolders, ONE, "not cordoned"),
        (Mutation::RestoresSchedulable, cordoned, "the administrator's cordon"),
        (Mutation::TakesALostAnnotationForAnEmptyLock, lost, "PROMISE BROKEN"),
        (Mutation::WithholdsSlots, PAIR, "PROMISE BROKEN|no way to an end"),
    ];
    for (mutation, setup, says) in table {
        match attempt(&Setup { mutation: Some(mutation), ..setup.clone() }) {
            Ok(explored) => panic!("{mutation:?} was not found out in {explored:?}"),
            Err(found) => {
                assert!(says.split('|').any(|part| found.broken.contains(part)), "{mutation:?}: {found}");
                println!("{mutation:?}: found out after {} states, {} steps: {}", found.states, found.trace.len() - 1, found.broken);
            }
        }
    }
}

/// Shows that one rule can be broken without effect, because two others protect it: a node that takes a slot that is not
/// there is seen to be beyond the slots, and sees the mark of the other.
#[test]
fn a_slot_taken_beyond_the_slots_is_given_back_before_any_approval() {
    attempt(&Setup { mutation: Some(Mutation::TakesBeyondTheSlots), ..PAIR }).unwrap();
}

/// Walks the small world, or the wide one.
#[expect(clippy::disallowed_methods, reason = "which world is chosen from outside")]
fn holds(small: &Setup, wide: &Setup) {
    let setup = match std::env::var("MODEL").as_deref() {
        Ok("wide") => wide,
        Ok("small") | Err(_) => small,
        Ok(other) => panic!("MODEL is {other:?}; it must be small or wide"),
    };
    match attempt(setup) {
        Ok(explored) => assert!(explored.states > 1_000 && explored.goals > 0, "hardly anything was walked: {explored:?}"),
        Err(found) => panic!("{setup}: {found}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the time it takes is describe")]
fn attempt(setup: &Setup) -> Result<Explored, Counterexample> {
    let begun = Instant::now();
    let stage = Stage::new(setup.clone());
    let explored = explore(&stage, STATES_MAX)?;
    let Explored { states, moves, depth, goals } = explored;
    let seconds = begun.elapsed().as_secs();
    println!("| {setup} | {states} | {moves} | {depth} | {goals} | {seconds} s |");
    Ok(explored)
}

/// A world with more takes too much memory: about 150 bytes a state.
const STATES_MAX: usize = 15_000_000;
