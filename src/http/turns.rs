//! Order in which complete requests are passed on: in turn by address, and of each address in the order of their arrival. Pure.
//!
//! A few requests are passed on at once. So hundreds of requests of one address delay a request of another address by a few only, and a
//! request whose client hangs up meanwhile is never passed on.

use std::collections::{BTreeMap, VecDeque};

use crate::access::ClientNetwork;

/// Requests that are passed on at the same time, and those that wait for that. `T` is needed to wake the thread of a request.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// Number of requests that may still be passed on.
    free: usize,
    /// Number of the next request.
    next: u64,
    waiting: BTreeMap<ClientNetwork, VecDeque<(u64, T)>>,
    /// Network that had the last turn.
    last: Option<ClientNetwork>,
}

/// Turn of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Later; with the number of the request.
    Later(u64),
}

impl<T> Turns<T> {
    pub(super) fn new(free: usize) -> Self {
        Self { free, next: 0, waiting: BTreeMap::new(), last: None }
    }

    /// Adds a request.
    pub(super) fn ask(&mut self, source: ClientNetwork, request: T) -> Turn {
        // While others wait, nothing is free.
        if self.free > 0 {
            self.free -= 1;
            self.last = Some(source);
            return Turn::Now;
        }
        let number = self.next;
        self.next += 1;
        self.waiting.entry(source).or_default().push_back((number, request));
        Turn::Later(number)
    }

    /// Removes a request that waits. Returns `false` if it has its turn already.
    pub(super) fn withdraw(&mut self, source: ClientNetwork, number: u64) -> bool {
        let Some(queue) = self.waiting.get_mut(&source) else { return false };
        let before = queue.len();
        queue.retain(|(other, _)| *other != number);
        let removed = queue.len() < before;
        if queue.is_empty() {
            self.waiting.remove(&source);
        }
        removed
    }

    /// Ends a turn. Returns the request that has the next one.
    pub(super) fn end(&mut self) -> Option<T> {
        let after = |last| self.waiting.keys().find(|source| **source > last).copied();
        let Some(source) = self.last.and_then(after).or_else(|| self.waiting.keys().next().copied()) else {
            self.free += 1;
            return None;
        };
        let queue = self.waiting.get_mut(&source)?;
        let (_number, request) = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&source);
        }
        self.last = Some(source);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> ClientNetwork {
        ClientNetwork::of([10, 0, 0, last].into())
    }

    #[test]
    fn addresses_have_their_turns_one_after_the_other() {
        // The addresses of the requests in the order of their arrival, and in the order of their turns.
        let cases: [(&[u8], &[u8]); 4] = [
            (&[1, 1, 1], &[1, 1, 1]),
            (&[1, 1, 1, 1, 2], &[1, 2, 1, 1, 1]),
            (&[3, 3, 3, 1, 2, 2], &[3, 1, 2, 3, 2, 3]),
            (&[2, 1, 1, 2], &[2, 1, 2, 1]),
        ];
        for (arrivals, order) in cases {
            let mut turns = Turns::new(1);
            for (at, last) in arrivals.iter().enumerate() {
                let turn = turns.ask(source(*last), *last);
                assert_eq!(turn == Turn::Now, at == 0, "{arrivals:?}");
            }
            let rest: Vec<u8> = std::iter::from_fn(|| turns.end()).collect();
            assert_eq!(rest, order[1..], "{arrivals:?}");
            assert_eq!((turns.free, turns.waiting.len()), (1, 0), "{arrivals:?}");
        }
    }

    #[test]
    fn of_one_address_the_first_is_first_and_a_withdrawn_one_has_no_turn() {
        let mut turns = Turns::new(2);
        let asked: Vec<Turn> = ["a", "b", "c", "d", "e"].into_iter().map(|name| turns.ask(source(1), name)).collect();
        assert_eq!(asked, [Turn::Now, Turn::Now, Turn::Later(0), Turn::Later(1), Turn::Later(2)]);
        assert!(turns.withdraw(source(1), 1) && !turns.withdraw(source(1), 1) && !turns.withdraw(source(2), 0));
        assert_eq!(turns.end(), Some("c"));
        assert!(!turns.withdraw(source(1), 0), "it has its turn");
        assert_eq!((turns.end(), turns.end(), turns.end()), (Some("e"), None, None));
        assert_eq!((turns.free, turns.waiting.len()), (2, 0));
    }
}
