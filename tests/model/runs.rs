//! What is walked, and what must come of it. Each test walks a small world by default, and a wider one with
//! `MODEL=wide`, as `scripts/model` has it. The build must be optimised: `cargo test --profile model --test model`.

use std::time::Instant;

use crate::explore::{Counterexample, Explored, explore};
use crate::liveness::{Person, Ways};
use crate::mutations;
use crate::setup::Event::*;
use crate::setup::{FAILING, OLDER, ONE, PAIR, Setup};
use crate::world::Stage;

/// Makes a test of each row: its name, the small world, and the wide one.
macro_rules! walks {
    ($($name:ident: $small:expr, $wide:expr;)*) => {$(
        #[test]
        fn $name() {
            holds($small, $wide);
        }
    )*};
}

walks! {
    two_nodes_and_replicas_that_die:
        Setup { pods: 1, ..PAIR }.with([(Death, 1)]),
        |small| Setup { reconcilers: 2, ..small }.with([(Death, 2), (Fault, 1)]);
    two_nodes_and_writes_that_fail_or_lose_their_answer:
        PAIR.with([(Fault, 1)]),
        |small| Setup { pods: 1, late: true, ..small }.with([(Fault, 2), (LateWrite, 1)]);
    two_nodes_and_a_write_that_comes_late:
        PAIR.with([(LateWrite, 1)]),
        |small| small.with([(LateWrite, 2), (Death, 1)]);
    two_nodes_that_call_again_before_they_are_answered:
        Setup { reconcilers: 0, prompt: true, ..PAIR }.with([(SecondCall, 1)]),
        |small| Setup { reconcilers: 1, prompt: false, ..small };
    two_nodes_and_administrators:
        Setup { cordoned: &[1], reconcilers: 0, prompt: true, ..PAIR }.with([(Cordon, 1), (Uncordon, 1)]),
        |small| Setup { reconcilers: 1, prompt: false, ..small }.with([(Arrival, 1)]);
    two_nodes_and_a_deleted_lease:
        Setup { requests: 1, ..PAIR }.with([(LeaseDeletion, 1)]),
        |small| Setup { requests: 2, late: true, ..small };
    two_nodes_and_a_deleted_node:
        Setup { requests: 1, prompt: true, ..PAIR }.with([(NodeDeletion, 1)]),
        |small| Setup { requests: 2, prompt: false, ..small };
    two_nodes_and_one_that_is_not_found_for_once:
        Setup { requests: 1, prompt: true, ..PAIR }.with([(LoneNotFound, 1)]),
        |small| Setup { prompt: false, ..small }.with([(LoneNotFound, 1), (Death, 1)]);
    two_nodes_and_a_lease_that_loses_its_annotation:
        Setup { requests: 1, ..PAIR }.with([(LostAnnotation, 1)]),
        |small| Setup { requests: 2, ..small }.with([(LostAnnotation, 1), (LeaseDeletion, 1), (Fault, 1)]);
    two_nodes_of_the_control_plane_and_two_slots:
        Setup { slots: 2, control_plane: true, ..PAIR }.with([(Death, 1)]),
        |small| Setup { pods: 1, late: true, ..small }.with([(Death, 1), (Fault, 1)]);
    two_nodes_and_annotations_that_are_seen_late:
        Setup { late: true, ..PAIR }.with([(Death, 1)]),
        |small| Setup { pods: 1, ..small }.with([(Restart, 1), (Death, 1)]);
    three_nodes_and_two_slots:
        Setup { nodes: 3, slots: 2, reconcilers: 0, prompt: true, ..PAIR },
        |small| small.with([(Death, 1)]);
    three_nodes_and_one_slot:
        Setup { nodes: 3, prompt: true, ..PAIR },
        |small| small.with([(Death, 1)]);
    one_node_whose_own_requests_overtake_each_other:
        ONE.with([(SecondCall, 1), (Restart, 1)]),
        |small| small.with([(SecondThought, 1), (Death, 1)]);
    one_node_that_reboots_twice_and_whose_check_in_is_overtaken:
        Setup { reboots: 2, reconcilers: 0, ..ONE }.with([(SecondCall, 1)]),
        |small| Setup { reconcilers: 1, ..small }.with([(SecondCall, 2)]);
    one_node_that_is_deleted_and_registered_again_and_whose_request_is_overtaken:
        Setup { reconcilers: 0, prompt: true, ..ONE }.with([(NodeDeletion, 1), (SecondCall, 1)]),
        |small| Setup { reconcilers: 1, prompt: false, ..small }.with([(Death, 1)]);
    one_node_that_checks_in_without_a_reboot:
        Setup { requests: 1, time: true, ..ONE }.with([(Restart, 1)]),
        |small| Setup { requests: 2, ..small }.with([(SecondThought, 1), (Death, 1), (Fault, 1)]);
    one_node_that_asks_again_after_its_approval:
        ONE.with([(SecondThought, 1), (SecondCall, 1), (Uncordon, 1)]),
        |small| small.with([(Restart, 1), (Fault, 1), (Death, 1)]);
    one_node_and_all_actions_of_administrators:
        Setup { pods: 1, ..ONE }.with([(Cordon, 1), (Uncordon, 1), (Arrival, 1), (Death, 1)]),
        |small| Setup { reboots: 2, ..small }.with([(Fault, 1), (SecondCall, 1)]);
    one_node_that_reboots_twice_with_faults:
        Setup { reboots: 2, ..ONE }.with([(Fault, 1), (LateWrite, 1), (Death, 1)]),
        |small| Setup { reconcilers: 2, ..small }.with([(Fault, 2), (Restart, 1)]);
    one_node_that_gives_its_slot_back:
        Setup { pods: 1, prompt: true, gives_back: true, ..ONE }.with([(Standstill, 1), (SecondThought, 1), (Silence, 1)]),
        |small| small.with([(Death, 1), (Fault, 1), (SecondCall, 1)]);
    one_node_that_never_checks_in_and_asks_again:
        Setup { requests: 1, reboots: 2, prompt: true, gives_back: true, ..ONE }.with([(Silence, 1)]),
        |small| Setup { requests: 2, ..small }.with([(Silence, 1), (Death, 1)]);
    one_node_whose_older_request_outlives_its_reboot:
        Setup { pods: 1, prompt: true, gives_back: true, reconcilers: 0, ..ONE }.with([(SecondCall, 1), (Silence, 1)]),
        |small| Setup { reconcilers: 1, ..small };
    two_nodes_of_which_one_gives_its_slot_back:
        Setup { requests: 1, prompt: true, gives_back: true, ..PAIR },
        |small| Setup { pods: 1, ..small }.with([(Standstill, 1)]);
    two_nodes_of_which_one_stops_asking:
        FAILING.with([(Departure, 1), (HangUp, 1)]),
        |small| Setup { requests: 2, ..small }.with([(Death, 1), (Fault, 1)]);
    two_nodes_and_replicas_that_die_while_one_stops_asking:
        Setup { requests: 2, ..FAILING }.with([(Departure, 1), (Death, 1)]),
        |small| Setup { prompt: false, ..small };
    two_nodes_and_pods_that_cannot_be_evicted:
        Setup { requests: 2, ..FAILING }.with([(Obstruction, 1), (Death, 1)]),
        |small| Setup { reboots: 2, ..small };
    two_nodes_and_a_kubelet_that_stops:
        Setup { requests: 2, ..FAILING }.with([(KubeletFailure, 1)]),
        |small| small.with([(Death, 1), (Fault, 1)]);
    two_nodes_of_the_control_plane_and_a_kubelet_that_stops:
        Setup { control_plane: true, slots: 2, ..FAILING }.with([(KubeletFailure, 1)]),
        |small| Setup { requests: 2, ..small }.with([(Death, 1)]);
    two_nodes_of_which_one_cannot_reboot:
        Setup { requests: 2, ..FAILING }.with([(FailedReboot, 1), (Fault, 1)]),
        |small| small.with([(Death, 1)]);
    two_nodes_of_which_one_is_reinstalled:
        Setup { requests: 2, ..FAILING }.with([(Silence, 1), (Death, 1)]),
        |small| Setup { reboots: 2, ..small };
    two_nodes_that_give_their_slots_back_and_fail:
        Setup { pods: 0, gives_back: true, ..FAILING }.with([(Departure, 1), (FailedReboot, 1), (KubeletFailure, 1), (PowerLoss, 1)]),
        |small| Setup { reboots: 2, ..small }.with([(Removal, 1)]);
    two_nodes_of_which_one_loses_its_power:
        Setup { requests: 2, ..FAILING }.with([(PowerLoss, 1), (Fault, 1)]),
        |small| small.with([(Death, 1)]);
    two_nodes_of_which_one_crashes:
        Setup { requests: 1, prompt: true, pods: 1, ..PAIR }.with([(Crash, 1)]),
        |small| Setup { requests: 2, ..small }.with([(Death, 1)]);
    one_node_that_crashes_in_the_middle_of_its_reboots:
        Setup { requests: 1, pods: 1, prompt: true, ..ONE }.with([(Crash, 2)]),
        |small| Setup { requests: 2, reboots: 2, ..small }.with([(Crash, 2), (SecondCall, 1)]);
    two_nodes_of_which_one_is_removed:
        Setup { requests: 2, ..FAILING }.with([(Removal, 1), (Death, 1)]),
        |small| small.with([(LoneNotFound, 1)]);
    two_nodes_of_which_one_is_marked_by_hand:
        Setup { requests: 2, ..FAILING }.with([(HandMark, 1)]),
        |small| small.with([(Death, 1), (Departure, 1)]);
    three_nodes_of_which_one_stops_asking:
        Setup { nodes: 3, pods: 0, ..FAILING }.with([(Departure, 1)]),
        |small| Setup { requests: 2, ..small };
    beside_an_annotation_only_manager_whose_node_comes_last:
        OLDER.with([(Older, 1), (SecondCall, 1)]),
        |small| Setup { reconcilers: 1, prompt: false, ..small }.with([(Death, 1)]);
    beside_an_annotation_only_manager_whose_node_comes_first:
        Setup { older: Some("a"), reconcilers: 0, prompt: true, ..OLDER }.with([(Older, 1), (SecondCall, 1)]),
        |small| Setup { reconcilers: 1, prompt: false, ..small }.with([(Death, 1)]);
}

/// Each state in which a person must act is reached, and none of them by a rule that could do without.
#[test]
fn nodes_wait_for_a_person_only_where_one_must_act() {
    let plane = Setup { control_plane: true, slots: 2, ..FAILING };
    for (setup, persons) in [
        (FAILING.with([(Departure, 1)]), &[Person::ApprovedAndSilent][..]),
        (FAILING.with([(KubeletFailure, 1)]), &[Person::ApprovedAndNotReady]),
        (plane.with([(KubeletFailure, 1)]), &[Person::ApprovedAndNotReady, Person::ControlPlane]),
        (FAILING.with([(HandMark, 1)]), &[Person::MarkedByHand]),
        (PAIR.with([(LostAnnotation, 1)]), &[Person::LeaseUnreadable]),
        (FAILING.with([(Obstruction, 1)]), &[]),
        (FAILING.with([(FailedReboot, 1)]), &[]),
        (FAILING.with([(PowerLoss, 1)]), &[Person::ApprovedAndNotReady]),
        (FAILING.with([(Removal, 1)]), &[]),
        (FAILING.with([(Silence, 1)]), &[]),
        (Setup { nodes: 1, reboots: 2, prompt: false, ..FAILING }.with([(Silence, 1)]), &[Person::BootUnknown]),
        (FAILING.with([(LeaseDeletion, 1), (Departure, 1)]), &[Person::ApprovedAndSilent, Person::BootUnknown]),
    ] {
        let ways = attempt(setup).unwrap_or_else(|found| panic!("{setup:?}: {found}")).1;
        assert_eq!(ways.persons.into_keys().collect::<Vec<_>>(), persons, "{setup:?}");
    }
}

#[test]
fn broken_rules_are_detected() {
    for (mutation, setup, says) in mutations::table() {
        let (broken, how) = match attempt(Setup { mutation: Some(mutation), ..setup }) {
            Ok((explored, _)) => ("nothing".to_owned(), format!("{explored:?}")),
            Err(found) => (found.broken.clone(), found.to_string()),
        };
        println!("{mutation:?}: {broken}");
        assert!(says.split('|').any(|part| broken.contains(part)), "{mutation:?}: {how}");
    }
}

/// Walks the small world, or the wide one.
#[expect(clippy::disallowed_methods, reason = "which world is chosen from outside")]
fn holds(small: Setup, wide: fn(Setup) -> Setup) {
    let setup = match std::env::var("MODEL").as_deref() {
        Ok("wide") => wide(small),
        Ok("small") | Err(_) => small,
        Ok(other) => panic!("MODEL is {other:?}; it must be small or wide"),
    };
    match attempt(setup) {
        Ok((explored, _)) => assert!(explored.states > 1_000 && explored.goals > 0, "hardly anything was walked: {explored:?}"),
        Err(found) => panic!("{setup:?}: {found}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the time is printed")]
fn attempt(setup: Setup) -> Result<(Explored, Ways), Counterexample> {
    let begun = Instant::now();
    let stage = Stage::new(setup);
    let mut ways = Ways::default();
    let explored = explore(&stage, STATES_MAX, &mut ways)?;
    let Explored { states, moves, depth, goals } = explored;
    let seconds = begun.elapsed().as_secs();
    let (minutes, longest, on_ways, persons) = (ways.longest.minutes(), ways.longest.moves, ways.len(), &ways.persons);
    println!(
        "| {setup:?} | {states} | {moves} | {depth} | {goals} | {on_ways} | {minutes} min, {longest} moves | {persons:?} | {seconds} s |"
    );
    Ok((explored, ways))
}

/// A world with more takes too much memory: about 150 bytes a state.
const STATES_MAX: usize = 15_000_000;
