//! Rules for the places of a port, by the address of each client. Pure: values only.
//!
//! With a free place, every connection gets one. In a full table a newcomer gets the place of the oldest idle connection of the address
//! with the most places, never one of an address with as few places as its own. So an address can only harm itself. A connection that
//! waits for its answer keeps its place, and therefore one address may not fill the table with such connections.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::ClientNetwork;

/// Places for each closed connection that may not have ended. Its thread only needs to wake.
const PLACES_FOR_ONE_ENDING: usize = 8;

/// All places of a port. `T` is needed to close a connection.
#[derive(Debug)]
pub(super) struct Places<T> {
    limit: usize,
    /// Connections of one address that may wait for their answers, for each place without one. With 8, one address alone can use eight ninths
    /// of all places, two addresses eight seventeenths each.
    share: usize,
    /// Number of the next connection.
    next: u64,
    sources: BTreeMap<ClientNetwork, Held<T>>,
    /// Connections that were closed for others and have not ended.
    ending: BTreeSet<u64>,
}

/// Places of one source.
#[derive(Debug)]
struct Held<T> {
    /// Numbers of the connections that wait for their answers.
    answering: BTreeSet<u64>,
    /// All other connections, by number, so the oldest is first.
    idle: BTreeMap<u64, T>,
}

/// Result of the attempt to begin an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Allowed,
    /// The connection was closed for another one.
    Closed,
    /// The connections of this source that wait for their answers are too many.
    TooMany,
}

/// Returns how many closed connections may still end, for a port with this many places.
pub(super) fn ending_max(limit: usize) -> usize {
    limit.div_ceil(PLACES_FOR_ONE_ENDING)
}

impl<T> Places<T> {
    pub(super) fn new(limit: usize, share: usize) -> Self {
        Self { limit, share, next: 0, sources: BTreeMap::new(), ending: BTreeSet::new() }
    }

    /// Reports whether a connection may be added now, or first one must end that was closed already.
    pub(super) fn may_add(&self) -> bool {
        self.count() < self.limit || self.ending.len() < ending_max(self.limit)
    }

    /// Returns the number of connections that have not ended.
    pub(super) fn open(&self) -> usize {
        self.count() + self.ending.len()
    }

    /// Gives a place to a new connection. Returns its number, and the connection that must be closed for it. `Err`: there is no place.
    pub(super) fn add(&mut self, source: ClientNetwork, connection: T) -> Result<(u64, Option<T>), T> {
        let mut closed = None;
        if self.count() >= self.limit {
            let own = self.sources.get(&source).map_or(0, Held::count);
            closed = self.close(|other, count| other == source || count > own);
            if closed.is_none() {
                return Err(connection);
            }
        }
        let number = self.next;
        self.next += 1;
        let held = self.sources.entry(source).or_insert(Held { answering: BTreeSet::new(), idle: BTreeMap::new() });
        held.idle.insert(number, connection);
        Ok((number, closed))
    }

    /// Closes the oldest idle connection of the source with the most places.
    pub(super) fn close_any(&mut self) -> Option<T> {
        self.close(|_source, _count| true)
    }

    /// Begins an answer, after which the connection is not closed for another one. `always`: the answer takes no time.
    pub(super) fn begin_answer(&mut self, source: ClientNetwork, number: u64, always: bool) -> Begin {
        let free = self.limit.saturating_sub(self.sources.values().map(|held| held.answering.len()).sum());
        let Some(held) = self.sources.get_mut(&source).filter(|held| held.idle.contains_key(&number)) else { return Begin::Closed };
        if !always && held.answering.len() >= free.saturating_mul(self.share) {
            return Begin::TooMany;
        }
        held.idle.remove(&number);
        held.answering.insert(number);
        Begin::Allowed
    }

    /// Ends an answer, if it was begun. After that the connection may be closed again.
    pub(super) fn end_answer(&mut self, source: ClientNetwork, number: u64, connection: T) {
        if let Some(held) = self.sources.get_mut(&source)
            && held.answering.remove(&number)
        {
            held.idle.insert(number, connection);
        }
    }

    /// Reports whether the connection was closed for another one.
    pub(super) fn is_closed(&self, number: u64) -> bool {
        self.ending.contains(&number)
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, source: ClientNetwork, number: u64) {
        if self.ending.remove(&number) {
            return;
        }
        if let Some(held) = self.sources.get_mut(&source) {
            held.idle.remove(&number);
            held.answering.remove(&number);
            if held.count() == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn count(&self) -> usize {
        self.sources.values().map(Held::count).sum()
    }

    /// Closes the oldest idle connection of the source with the most places, among those that `may_lose` one. Of several such sources,
    /// the one with the oldest connection loses it.
    fn close(&mut self, may_lose: impl Fn(ClientNetwork, usize) -> bool) -> Option<T> {
        let sources = self.sources.iter().filter(|(source, held)| may_lose(**source, held.count()));
        let oldest = sources.filter_map(|(source, held)| Some((held.count(), u64::MAX - held.idle.keys().next()?, *source)));
        let (count, _age, source) = oldest.max()?;
        let (number, connection) = self.sources.get_mut(&source)?.idle.pop_first()?;
        if count == 1 {
            self.sources.remove(&source);
        }
        self.ending.insert(number);
        Some(connection)
    }
}

impl<T> Held<T> {
    fn count(&self) -> usize {
        self.answering.len() + self.idle.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of an address: idle, and answering.
    type Connections = (&'static str, usize, usize);

    /// A table whose connections are named by their numbers.
    struct Table(Places<u64>);

    fn source(address: &str) -> ClientNetwork {
        ClientNetwork::of(address.parse().unwrap())
    }

    impl Table {
        /// Makes a table with numbers of idle and answering connections of each address, in this order.
        fn with(limit: usize, held: &[Connections]) -> Self {
            let mut table = Self(Places::new(limit, 8));
            for (address, idle, answering) in held {
                for _ in 0..*answering {
                    let number = table.add(address).unwrap().0;
                    assert_eq!(table.0.begin_answer(source(address), number, true), Begin::Allowed);
                }
                for _ in 0..*idle {
                    table.add(address).unwrap();
                }
            }
            table
        }

        /// Adds a connection; returns its number, and that of the connection that is closed for it.
        fn add(&mut self, address: &str) -> Option<(u64, Option<u64>)> {
            let next = self.0.next;
            self.0.add(source(address), next).ok()
        }
    }

    #[test]
    fn the_place_of_a_newcomer_is_taken_from_the_address_with_the_most() {
        const FREE: Option<Option<u64>> = Some(None);
        const REFUSED: Option<Option<u64>> = None;
        let closed = |number| Some(Some(number));
        let cases: [(&str, usize, &[Connections], &str, _); 14] = [
            ("a free place is for any address", 4, &[("10.0.0.1", 3, 0)], "10.0.0.1", FREE),
            ("alone, an address closes its oldest", 3, &[("10.0.0.1", 3, 0)], "10.0.0.1", closed(0)),
            ("a neighbour takes the oldest of the largest", 4, &[("10.0.0.2", 1, 0), ("10.0.0.1", 3, 0)], "10.0.0.3", closed(1)),
            ("the largest never takes a place of a neighbour", 4, &[("10.0.0.2", 1, 0), ("10.0.0.1", 3, 0)], "10.0.0.1", closed(1)),
            ("nor when its own cannot be closed", 4, &[("10.0.0.2", 1, 0), ("10.0.0.1", 0, 3)], "10.0.0.1", REFUSED),
            ("of an equal, only its own", 4, &[("10.0.0.1", 2, 0), ("10.0.0.2", 2, 0)], "10.0.0.2", closed(2)),
            ("of a larger one, though it has some", 5, &[("10.0.0.2", 2, 0), ("10.0.0.1", 3, 0)], "10.0.0.2", closed(2)),
            ("of one each, the oldest", 3, &[("10.0.0.2", 1, 0), ("10.0.0.1", 1, 0), ("10.0.0.3", 1, 0)], "10.0.0.4", closed(0)),
            ("answers are never closed", 3, &[("10.0.0.1", 0, 3)], "10.0.0.2", REFUSED),
            ("but the next largest", 4, &[("10.0.0.1", 0, 3), ("10.0.0.2", 1, 0)], "10.0.0.3", closed(3)),
            ("answers count as places", 5, &[("10.0.0.1", 1, 2), ("10.0.0.2", 2, 0)], "10.0.0.3", closed(2)),
            (
                "an IPv6 network is one address",
                3,
                &[("2001:db8::1", 1, 0), ("2001:db8::2", 1, 0), ("10.0.0.1", 1, 0)],
                "10.0.0.1",
                closed(0),
            ),
            ("another network is not", 3, &[("2001:db8::1", 2, 0), ("2001:db8:0:1::1", 1, 0)], "2001:db8:0:1::2", closed(0)),
            ("a mapped address is IPv4", 3, &[("10.0.0.1", 2, 0), ("10.0.0.2", 1, 0)], "::ffff:10.0.0.1", closed(0)),
        ];
        for (what, limit, held, newcomer, want) in cases {
            let added = Table::with(limit, held).add(newcomer);
            assert_eq!(added.map(|(_, closed)| closed), want, "{what}");
        }
    }

    #[test]
    fn one_address_answers_in_nearly_all_places_and_leaves_some_for_others() {
        // Places, addresses, and the connections of one address that wait for their answers when no more may.
        let cases: [(usize, usize, usize); 9] =
            [(512, 1, 456), (512, 2, 241), (512, 10, 51), (512, 60, 9), (64, 1, 57), (16, 1, 15), (8, 1, 8), (3, 1, 3), (2, 2, 1)];
        for (limit, addresses, most) in cases {
            let mut places: Places<u64> = Places::new(limit, 8);
            let mut answering = vec![0; addresses];
            for round in 0..limit {
                for (address, count) in answering.iter_mut().enumerate() {
                    let source = ClientNetwork::of([10, 0, 0, address as u8].into());
                    let Ok((number, _closed)) = places.add(source, round as u64) else { continue };
                    *count += usize::from(places.begin_answer(source, number, false) == Begin::Allowed);
                }
            }
            assert_eq!(answering.iter().max(), Some(&most), "{limit} places, {addresses} addresses: {answering:?}");
            let all: usize = answering.iter().sum();
            assert!(all <= limit && limit - all <= limit / 8, "{limit} places, {addresses} addresses: {answering:?}");
        }
    }

    #[test]
    fn a_newcomer_is_answered_beside_an_address_that_fills_all_places_it_may() {
        for idle in [0, 56] {
            let mut table = Table::with(512, &[("10.0.0.1", idle, 456)]);
            for _ in 0..56 {
                let (number, closed) = table.add("10.0.0.2").unwrap();
                assert_eq!(closed.is_some(), idle > 0);
                assert_eq!(table.0.begin_answer(source("10.0.0.2"), number, false), Begin::Allowed);
                table.0.end_answer(source("10.0.0.2"), number, number);
                closed.into_iter().for_each(|number| table.0.remove(source("10.0.0.1"), number));
            }
        }
    }

    #[test]
    fn a_closed_connection_is_not_answered_and_gives_back_nothing_twice() {
        let mut table = Table::with(2, &[("10.0.0.1", 2, 0)]);
        assert_eq!(table.add("10.0.0.1"), Some((2, Some(0))));
        assert!(table.0.is_closed(0) && !table.0.is_closed(1) && !table.0.may_add());
        assert_eq!(table.0.begin_answer(source("10.0.0.1"), 0, true), Begin::Closed);
        table.0.end_answer(source("10.0.0.1"), 0, 0);
        assert_eq!(table.0.open(), 3);
        table.0.remove(source("10.0.0.1"), 0);
        assert!(table.0.may_add() && table.0.open() == 2);
        assert_eq!(table.0.begin_answer(source("10.0.0.1"), 1, false), Begin::Allowed);
        table.0.remove(source("10.0.0.1"), 1);
        table.0.remove(source("10.0.0.1"), 2);
        assert_eq!((table.0.open(), table.0.sources.len()), (0, 0));
    }
}
