//! Walks all states of a model, breadth first, so that a counterexample is among the shortest there are.
//!
//! A state is remembered by a digest of its key alone (128 bits of SHA-256); two states with one key must be the same to
//! everything that can follow.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use ring::digest::{SHA256, digest};

/// System that can be explored.
pub(crate) trait Model {
    type State: Clone;

    /// Memory of the ways to an end.
    type Ends: Default;

    /// First state.
    fn start(&self) -> Self::State;

    /// Everything that can happen next. `describe` requests a message about each.
    fn moves(&self, state: &Self::State, describe: Describe) -> Vec<Move<Self::State>>;

    /// Distinguishes states.
    fn key(&self, state: &Self::State) -> Vec<u8>;

    /// Reason why this state is forbidden, if it is.
    fn wrong(&self, state: &Self::State) -> Option<String>;

    /// Reports whether all agents are done. From every state one of these must be reachable, unless there `may_fail` something for good.
    fn is_goal(&self, state: &Self::State) -> bool;

    /// Reports whether something may fail for good.
    fn may_fail(&self) -> bool {
        false
    }

    /// Follows the way from this state to an end on which nothing goes wrong any more. Returns what is wrong with the way, and its steps.
    fn no_end(&self, _state: &Self::State, _ends: &mut Self::Ends) -> Option<(String, Vec<String>)> {
        None
    }

    /// A line about a state, for traces.
    fn show(&self, state: &Self::State) -> String;
}

/// Moves are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Describe {
    No,
    Yes,
}

/// Possible move.
pub(crate) struct Move<S> {
    /// Description, if requested.
    pub(crate) what: String,
    /// State after the move.
    pub(crate) to: S,
}

/// Result of an exploration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) moves: usize,
    pub(crate) depth: usize,
    pub(crate) goals: usize,
}

/// A promise broken, and how it came to it.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) broken: String,
    pub(crate) trace: Vec<String>,
    pub(crate) states: usize,
}

/// The number of a state, in the order of discovery.
type Number = u32;

struct Walk {
    numbers: HashMap<[u8; 16], Number>,
    /// For each state: where it was first come from, and by which of the moves there.
    parents: Vec<(Number, u16)>,
    /// All moves, as from and to.
    edges: Vec<(Number, Number)>,
    goals: Vec<Number>,
}

/// Walks everything; more than `limit` states is an error in the bounds.
pub(crate) fn explore<M: Model>(model: &M, limit: usize, ends: &mut M::Ends) -> Result<Explored, Counterexample> {
    let mut walk = Walk { numbers: HashMap::new(), parents: vec![(0, 0)], edges: Vec::new(), goals: Vec::new() };
    let start = model.start();
    walk.numbers.insert(short(&model.key(&start)), 0);
    let mut level = vec![(0, start)];
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for (number, state) in level {
            if model.is_goal(&state) {
                walk.goals.push(number);
            }
            if let Some((broken, way)) = model.no_end(&state, ends) {
                let mut found = walk.counterexample(model, number);
                found.trace.extend(way);
                return Err(Counterexample { broken, ..found });
            }
            for (position, step) in (0..).zip(model.moves(&state, Describe::No)) {
                let new = Number::try_from(walk.parents.len()).unwrap();
                let to = *walk.numbers.entry(short(&model.key(&step.to))).or_insert(new);
                walk.edges.push((number, to));
                if to == new {
                    walk.parents.push((number, position));
                    if model.wrong(&step.to).is_some() {
                        return Err(walk.counterexample(model, new));
                    }
                    next.push((new, step.to));
                }
            }
        }
        assert!(walk.parents.len() <= limit, "more than {limit} states; {} in the last level", next.len());
        level = next;
        depth += usize::from(!level.is_empty());
    }
    if !model.may_fail()
        && let Some(stuck) = walk.stuck()
    {
        return Err(walk.counterexample(model, stuck));
    }
    Ok(Explored { states: walk.parents.len(), moves: walk.edges.len(), depth, goals: walk.goals.len() })
}

/// Returns the digest of a key.
pub(crate) fn short(key: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest(&SHA256, key).as_ref()[..16]);
    short
}

impl Walk {
    /// The first state from which no goal can be reached.
    fn stuck(&mut self) -> Option<Number> {
        self.edges.sort_unstable_by_key(|(_, to)| *to);
        let mut reaches = vec![false; self.parents.len()];
        let mut open = self.goals.clone();
        open.iter().for_each(|goal| reaches[*goal as usize] = true);
        while let Some(state) = open.pop() {
            let first = self.edges.partition_point(|(_, to)| *to < state);
            for (source, _) in self.edges[first..].iter().take_while(|(_, to)| *to == state) {
                if !std::mem::replace(&mut reaches[*source as usize], true) {
                    open.push(*source);
                }
            }
        }
        reaches.iter().position(|reaches| !reaches).and_then(|at| Number::try_from(at).ok())
    }

    /// Goes the way from the start to the state `at` once more, and describes it.
    fn counterexample<M: Model>(&self, model: &M, mut at: Number) -> Counterexample {
        let mut positions = Vec::new();
        while at != 0 {
            let (from, position) = self.parents[at as usize];
            positions.push(position);
            at = from;
        }
        let mut state = model.start();
        let mut trace = vec![model.show(&state)];
        for position in positions.into_iter().rev() {
            let step = model.moves(&state, Describe::Yes).swap_remove(position.into());
            state = step.to;
            trace.push(format!("{}\n        {}", step.what, model.show(&state)));
        }
        let broken = model.wrong(&state).unwrap_or_else(|| "from here there is no way to an end".to_owned());
        Counterexample { broken, trace, states: self.parents.len() }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (number, line) in self.trace.iter().enumerate() {
            writeln!(text, "{number:4}  {line}")?;
        }
        write!(f, "{}\n{text}      ({} states were seen)", self.broken, self.states)
    }
}
