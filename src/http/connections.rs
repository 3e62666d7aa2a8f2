//! The table of open connections: how many may be open, and which one is closed when there are too many.
//!
//! A connection may be closed while its request is incomplete and once its answer is sent, never while it waits for an answer.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Loss, Metrics};
use crate::system::guarded::Guarded;

/// Time for a connection to end once its socket is shut down. Its thread has only to wake up.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// Every open connection of one port.
pub(super) struct Connections {
    limit: usize,
    metrics: Arc<Metrics>,
    table: Guarded<Table>,
}

#[derive(Default)]
struct Table {
    /// Connections so far; the number of the next.
    accepted: u64,
    open: usize,
    /// Connections that may be closed, the oldest first.
    idle: BTreeMap<u64, Arc<TcpStream>>,
}

/// One open connection. The socket is dropped before the entry: its descriptor is free before its place is.
pub(super) struct Connection {
    stream: Arc<TcpStream>,
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

    /// Adds a connection. When the table is full the oldest idle connection is closed; `None` when all wait for answers.
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

    /// Closes the oldest idle connection after an `accept` that failed, and waits for an end of any, at most `limit`.
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
        // Wakes the connection's thread, which does the rest.
        let _ = stream.shutdown(Shutdown::Both);
        self.metrics.connection_lost(Loss::Evicted);
        true
    }
}

impl Connection {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The request is complete: the connection stays open until its answer. `false` when it has been closed already.
    pub(super) fn begin_answer(&self) -> bool {
        self.entry.connections.table.lock().idle.remove(&self.entry.number).is_some()
    }

    /// The answer is sent, and the client has only to close its side.
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
