//! The connections that are open: how many may be, and who goes when there are too many.
//!
//! Whoever has not finished its request, or has its answer, can be sent away; whoever waits for an answer cannot.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::metrics::{Loss, Metrics};

/// How long one that was sent away may take to be gone. Its thread has only to wake up.
const GOING_MAX: Duration = Duration::from_secs(1);

/// Every open connection.
pub(super) struct Guests {
    limit: usize,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
    gone: Condvar,
}

#[derive(Default)]
struct Book {
    admitted: u64,
    present: usize,
    /// Those that can be sent away, by their number: the first has been here longest.
    idle: BTreeMap<u64, Arc<TcpStream>>,
}

/// One open connection; it leaves when it is dropped.
pub(super) struct Guest {
    number: u64,
    stream: Option<Arc<TcpStream>>,
    guests: Arc<Guests>,
}

impl Guests {
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self { limit, metrics, book: Mutex::default(), gone: Condvar::new() }
    }

    /// Lets a connection in. When all places are taken the oldest idle one goes; `None` when all wait for answers.
    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream) -> Option<Guest> {
        let mut book = self.book();
        if book.present >= self.limit && self.send_away(&mut book) {
            let full = |book: &mut Book| book.present >= self.limit;
            book = self.gone.wait_timeout_while(book, GOING_MAX, full).unwrap_or_else(|_poisoned| std::process::abort()).0;
        }
        if book.present >= self.limit {
            self.metrics.connection_lost(Loss::Full);
            return None;
        }
        let number = book.admitted;
        let stream = Arc::new(stream);
        book.idle.insert(number, Arc::clone(&stream));
        book.admitted += 1;
        book.present += 1;
        Some(Guest { number, stream: Some(stream), guests: Arc::clone(self) })
    }

    /// Makes room after an `accept` for which the kernel had none, and waits until somebody is gone or `limit` is over.
    pub(super) fn make_room(&self, limit: Duration) {
        let mut book = self.book();
        self.send_away(&mut book);
        drop(self.gone.wait_timeout(book, limit));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.book().present == 0
    }

    fn send_away(&self, book: &mut Book) -> bool {
        let Some((_number, stream)) = book.idle.pop_first() else { return false };
        // Its thread is woken by this and does the rest.
        let _ = stream.shutdown(Shutdown::Both);
        self.metrics.connection_lost(Loss::Evicted);
        true
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|_poisoned| std::process::abort())
    }
}

impl Guest {
    /// Its socket; `None` never.
    pub(super) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_deref()
    }

    /// Its request is complete: from now on it waits for us and is not sent away. `false` when it has been already.
    pub(super) fn waits(&self) -> bool {
        self.guests.book().idle.remove(&self.number).is_some()
    }

    /// It has its answer and has only to hang up.
    pub(super) fn lingers(&self) {
        if let Some(stream) = &self.stream {
            self.guests.book().idle.insert(self.number, Arc::clone(stream));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut book = self.guests.book();
        book.idle.remove(&self.number);
        // The descriptor is free before the place is.
        drop(self.stream.take());
        book.present -= 1;
        drop(book);
        self.guests.gone.notify_all();
    }
}
