//! The rule of annotation-only managers: look whether a node is marked as rebooting; mark the own one;
//! look again; of those that are marked at the same time the first by name keeps its slot, the others go back.
//!
//! It has a hole, and the checker must find it: a node that marks itself later but comes first by name passes its second
//! look, while the other has passed its own already. This is why there is a Lease.

use crate::explore::{Describe, Explored, Model, Move, explore};

/// Two nodes, `a` and `b`, each with one request to a replica that keeps to this rule.
struct Seed {
    /// Nodes that may reboot at once.
    slots: usize,
}

const NAMES: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Idle,
    Looked,
    Marked,
    Approved,
    Back,
}

impl Model for Seed {
    type State = [At; 2];
    type Ends = ();

    fn start(&self) -> [At; 2] {
        [At::Idle; 2]
    }

    fn moves(&self, state: &[At; 2], _describe: Describe) -> Vec<Move<[At; 2]>> {
        let is_marked = |node: usize| matches!(state[node], At::Marked | At::Approved);
        let step = |node: usize| {
            let other = 1 - node;
            let (to, what) = match state[node] {
                At::Idle if is_marked(other) => return None,
                At::Idle => (At::Looked, "reads, and no node is marked"),
                At::Looked => (At::Marked, "marks and cordons itself"),
                At::Marked if is_marked(other) && NAMES[other] < NAMES[node] => (At::Idle, "looks again, is not the first, and goes back"),
                At::Marked => (At::Approved, "looks again, keeps its slot, is drained, and is approved"),
                At::Approved => (At::Back, "has rebooted and is marked ready"),
                At::Back => return None,
            };
            let mut next = *state;
            next[node] = to;
            Some(Move { what: format!("{} {what}", NAMES[node]), to: next })
        };
        (0..2).filter_map(step).collect()
    }

    fn key(&self, state: &[At; 2]) -> Vec<u8> {
        state.iter().map(|at| *at as u8).collect()
    }

    fn wrong(&self, state: &[At; 2]) -> Option<String> {
        let approved = state.iter().filter(|at| **at == At::Approved).count();
        (approved > self.slots).then(|| "PROMISE BROKEN: a and b may reboot at once; there is 1 slot".to_owned())
    }

    fn is_goal(&self, state: &[At; 2]) -> bool {
        *state == [At::Back; 2]
    }

    fn show(&self, state: &[At; 2]) -> String {
        format!("{state:?}")
    }
}

#[test]
fn the_defect_in_the_rule_of_annotation_only_managers_is_found() {
    let found = explore(&Seed { slots: 1 }, 100, &mut ()).unwrap_err();
    println!("the rule of annotations and names alone: {found}");
    assert!(found.broken.contains("may reboot at once"), "{found}");
    let steps: Vec<&str> = found.trace.iter().skip(1).filter_map(|line| line.lines().next()).collect();
    // The later one, which is first by name, is approved last.
    assert!(steps.iter().position(|step| step.starts_with("b looks again")) < steps.iter().position(|step| step.starts_with("a marks")));
    assert!(steps.last().unwrap().starts_with("a looks again, keeps its slot"), "{found}");
}

#[test]
fn without_a_broken_promise_all_states_are_walked() {
    let explored = explore(&Seed { slots: 2 }, 100, &mut ()).unwrap();
    assert_eq!(explored, Explored { states: 25, moves: 36, depth: 8, goals: 1 });
}

#[test]
#[should_panic(expected = "more than 3 states")]
fn bounds_that_are_too_wide_are_reported() {
    let _ = explore(&Seed { slots: 2 }, 3, &mut ());
}
