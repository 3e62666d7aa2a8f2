//! The table of open connections, with a limit. `places` has the rules: which connection is closed for a newer one, and which requests
//! may be answered.
//!
//! A connection is idle while its request is incomplete and once its answer is sent. A connection that waits for its answer is
//! never closed.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::places::{Begin, Places};
use crate::access::ClientNetwork;
use crate::metrics::{Loss, Metrics};
use crate::system::guarded::Guarded;

// The thread of a connection whose socket is shut down must only wake up. Many of them end at once in an attack, and need processor time.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// Open connections of one port.
pub(super) struct Connections {
    metrics: Arc<Metrics>,
    places: Guarded<Places<Arc<TcpStream>>>,
}

/// An open connection.
pub(super) struct Connection {
    // Dropped before the entry, so that the descriptor is free before the place is.
    pub(super) stream: Arc<TcpStream>,
    entry: Entry,
}

struct Entry {
    source: ClientNetwork,
    number: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(limit: usize, share: usize, metrics: Arc<Metrics>) -> Self {
        Self { metrics, places: Guarded::new(Places::new(limit, share)) }
    }

    /// Adds a connection; if the table is full, closes another one for it. Returns `None` if there is no place for this address.
    pub(super) fn add(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let source = ClientNetwork::of(peer.ip());
        let mut places = self.places.wait(ENDING_MAX, |places| places.may_add());
        let stream = Arc::new(stream);
        let added = if places.may_add() { places.add(source, Arc::clone(&stream)).ok() } else { None };
        drop(places);
        let Some((number, closed)) = added else {
            self.metrics.connection_lost(Loss::Full);
            return None;
        };
        self.close(closed);
        Some(Connection { stream, entry: Entry { source, number, connections: Arc::clone(self) } })
    }

    /// Closes an idle connection after a failed `accept`, then waits until any connection ends, at most `limit`.
    pub(super) fn make_room(&self, limit: Duration) {
        let mut places = self.places.lock();
        let before = places.open();
        let closed = places.close_any();
        drop(places);
        self.close(closed);
        drop(self.places.wait(limit, |places| places.open() < before));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.lock().open() == 0
    }

    fn close(&self, connection: Option<Arc<TcpStream>>) {
        if let Some(stream) = connection {
            // Wakes the thread of the connection, which then ends and removes its entry.
            let _ = stream.shutdown(Shutdown::Both);
            self.metrics.connection_lost(Loss::Evicted);
        }
    }
}

impl Connection {
    /// Forbids to close the connection for a newer one. `always`: the answer takes no time, so it is no question of shares.
    pub(super) fn begin_answer(&self, always: bool) -> Begin {
        let Entry { source, number, connections } = &self.entry;
        connections.places.lock().begin_answer(*source, *number, always)
    }

    /// Allows the connection to be closed for a newer one again.
    pub(super) fn end_answer(&self) {
        let Entry { source, number, connections } = &self.entry;
        connections.places.lock().end_answer(*source, *number, Arc::clone(&self.stream));
    }

    /// Reports whether the connection was closed for a newer one.
    pub(super) fn is_closed(&self) -> bool {
        self.entry.connections.places.lock().is_closed(self.entry.number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.places.lock().remove(self.source, self.number);
        self.connections.places.wake();
    }
}
