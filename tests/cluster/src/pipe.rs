//! A TCP proxy below TLS and HTTP, which can freeze, cut and redirect connections.
//!
//! The other proxy, [`crate::Proxy`], knows requests and their answers; this one knows bytes only.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Limit of a connection attempt to the target.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Proxy whose connections end on drop.
pub struct Pipe {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    target: SocketAddr,
    frozen: bool,
    closing: bool,
    open: Vec<TcpStream>,
    opened: usize,
}

impl Pipe {
    /// Opens a pipe to `target`, `host:port`.
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of 127.0.0.1");
        let address = listener.local_addr().expect("its address");
        let target = target.parse().expect("an address with a port");
        let state = State { target, frozen: false, closing: false, open: Vec::new(), opened: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((stream, _peer)) = listener.accept() {
                if accepting.state().closing {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.join(&stream));
            }
        });
        Self { address, shared }
    }

    /// Returns `host:port` of the near end.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Stops all bytes in both directions; connections stay open, and new ones are accepted.
    pub fn freeze(&self) {
        self.shared.change(|state| state.frozen = true);
    }

    /// Frozen connections continue.
    pub fn thaw(&self) {
        self.shared.change(|state| state.frozen = false);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.shared.change(|state| state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both))));
    }

    /// Connects to `target` from now on, and closes the open connections.
    pub fn lead_to(&self, target: &str) {
        let target = target.parse().expect("an address with a port");
        self.shared.change(|state| state.target = target);
        self.cut();
    }

    /// Returns the number of connections so far.
    pub fn opened(&self) -> usize {
        self.shared.state().opened
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.change(|state| state.closing = true);
        self.cut();
        // `accept` blocks; one more connection wakes it so that it ends.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_MAX);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Joins a connection with one to the target until either ends.
    fn join(&self, near: &TcpStream) {
        self.wait_until_thawed();
        let target = self.state().target;
        let Ok(far) = TcpStream::connect_timeout(&target, CONNECT_MAX) else { return };
        {
            let mut state = self.state();
            state.opened += 1;
            state.open.extend([near, &far].into_iter().filter_map(|stream| stream.try_clone().ok()));
        }
        thread::scope(|scope| {
            scope.spawn(|| self.carry(near, &far));
            self.carry(&far, near);
        });
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.wait_until_thawed();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait_until_thawed(&self) {
        drop(self.changed.wait_while(self.state(), |state| state.frozen && !state.closing));
    }
}
