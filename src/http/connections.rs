//! The table of open connections, with a limit. Beyond the limit the oldest connection whose request is incomplete is closed.
//!
//! A connection is idle while its request is incomplete and once its answer is sent. A connection that waits for its answer is
//! never closed.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Loss, Metrics};
use crate::system::guarded::Guarded;

// The thread of a connection whose socket is shut down must only wake up.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// Open connections of one port.
pub(super) struct Connections {
    limit: usize,
    metrics: Arc<Metrics>,
    table: Guarded<Table>,
}

#[derive(Default)]
struct Table {
    /// Number of the next connection.
    accepted: u64,
    open: usize,
    /// Idle connections, oldest first.
    idle: BTreeMap<u64, Arc<TcpStream>>,
}

/// An open connection.
pub(super) struct Connection {
    // Dropped before the entry, so that the descriptor is free before the place is.
    pub(super) stream: Arc<TcpStream>,
    entry: Entry,
}

struct Entry {
    number: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self { limit, metrics, table: Guarded::default() }
    }

    /// Adds a connection, closing the oldest idle one if the table is full. Returns `None` if all wait for their answers.
    pub(super) fn add(self: &Arc<Self>, stream: TcpStream) -> Option<Connection> {
        let mut table = self.table.lock();
        if table.open >= self.limit && self.close_oldest(&mut table) {
            drop(table);
            table = self.table.wait(CLOSING_MAX, |table| table.open < self.limit);
        }
        if table.open >= self.limit {
            self.metrics.connection_lost(Loss::Full);
            return None;
        }
        let number = table.accepted;
        let stream = Arc::new(stream);
        table.idle.insert(number, Arc::clone(&stream));
        table.accepted += 1;
        table.open += 1;
        Some(Connection { stream, entry: Entry { number, connections: Arc::clone(self) } })
    }

    /// Closes the oldest idle connection after a failed `accept`, then waits until any connection ends, at most `limit`.
    pub(super) fn make_room(&self, limit: Duration) {
        let mut table = self.table.lock();
        let before = table.open;
        self.close_oldest(&mut table);
        drop(table);
        drop(self.table.wait(limit, |table| table.open < before));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.lock().open == 0
    }

    fn close_oldest(&self, table: &mut Table) -> bool {
        let Some((_number, stream)) = table.idle.pop_first() else { return false };
        // Wakes the thread of the connection, which then ends and removes its entry.
        let _ = stream.shutdown(Shutdown::Both);
        self.metrics.connection_lost(Loss::Evicted);
        true
    }
}

impl Connection {
    /// Forbids to close the connection for a newer one. Returns `false` if it has been closed already.
    pub(super) fn begin_answer(&self) -> bool {
        self.entry.connections.table.lock().idle.remove(&self.entry.number).is_some()
    }

    /// Allows the connection to be closed for a newer one again.
    pub(super) fn end_answer(&self) {
        self.entry.connections.table.lock().idle.insert(self.entry.number, Arc::clone(&self.stream));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = self.connections.table.lock();
        table.idle.remove(&self.number);
        table.open -= 1;
        drop(table);
        self.connections.table.wake();
    }
}
