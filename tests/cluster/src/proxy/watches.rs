//! Watches on the proxy: passed on as they come, and held up, cut or falsified on demand.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use super::{Arrival, Proxy, Shared, kept, returned};
use crate::http::{Reply, Request, Response, Sink};

/// All watches of a proxy, open ones and later ones.
pub struct Watches(pub(super) Arc<Shared>);

#[derive(Default)]
pub(super) struct State {
    held: bool,
    /// Number of cuts so far.
    cut: u64,
    /// Events for each open watch, by the number of the call.
    open: Vec<(usize, Pipe)>,
}

#[derive(Default)]
struct Pipe {
    waiting: VecDeque<Vec<u8>>,
    /// Events that are sent first, even while events are held.
    overtaking: VecDeque<Vec<u8>>,
    /// End of the API server's stream: `true` if complete.
    over: Option<bool>,
}

impl Proxy {
    pub fn watches(&self) -> Watches {
        Watches(Arc::clone(&self.shared))
    }
}

impl Watches {
    /// Holds all events, as if the connection had died silently.
    pub fn hold(&self) {
        self.0.state().watches.held = true;
    }

    /// Sends the held events, and all later ones.
    pub fn flow(&self) {
        self.0.state().watches.held = false;
        self.0.changed.notify_all();
    }

    /// Cuts the open watches.
    pub fn cut(&self) {
        self.0.state().watches.cut += 1;
        self.0.changed.notify_all();
    }

    /// Adds an event to the open watches.
    pub fn say(&self, event: &serde_json::Value) {
        for (_, pipe) in &mut self.0.state().watches.open {
            pipe.waiting.push_back(format!("{event}\n").into_bytes());
        }
        self.0.changed.notify_all();
    }

    /// Adds an event that is sent before all waiting events.
    pub fn overtake(&self, event: &serde_json::Value) {
        for (_, pipe) in &mut self.0.state().watches.open {
            pipe.overtaking.push_back(format!("{event}\n").into_bytes());
        }
        self.0.changed.notify_all();
    }
}

impl Shared {
    pub(super) fn pass_on_watch(self: &Arc<Self>, request: &Request, n: usize, arrival: &Arrival) -> Reply {
        let Ok((answer, reader)) = self.upstream.pass_on_stream(&request.target, &kept(request)) else { return Reply::Cut };
        let Some(passed) = self.note(n, |passed| passed.upstream = Some(answer.status)) else { return Reply::Cut };
        let mut response = Response { status: answer.status, headers: returned(answer.headers), ..Response::default() };
        if !self.after_upstream(&passed, arrival, &mut response) {
            return Reply::Cut;
        }
        if !response.body.is_empty() {
            // A fault has replaced the API server's answer.
            return Reply::Send(response);
        }
        if !(200..300).contains(&answer.status) {
            let mut reader = reader;
            let whole = reader.read_to_end(&mut response.body);
            return if whole.is_ok() { Reply::Send(response) } else { Reply::Cut };
        }
        self.note(n, |passed| passed.status = Some(answer.status));
        let mut state = self.state();
        state.watches.open.push((n, Pipe::default()));
        let cut = state.watches.cut;
        drop(state);
        let listener = Arc::clone(self);
        std::thread::spawn(move || listener.read_events(n, reader));
        let shared = Arc::clone(self);
        Reply::Stream(response, Box::new(move |sink| shared.send_events(n, cut, sink)))
    }

    /// Reads the API server's stream into the pipe.
    fn read_events(&self, n: usize, mut reader: impl Read) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = reader.read(&mut buffer);
            let mut state = self.state();
            let Some(pipe) = state.watches.pipe(n) else { return };
            match read {
                Ok(0) | Err(_) => pipe.over = Some(read.is_ok()),
                Ok(length) => pipe.waiting.push_back(buffer[..length].to_vec()),
            }
            let over = pipe.over.is_some();
            drop(state);
            self.changed.notify_all();
            if over {
                return;
            }
        }
    }

    /// Writes the pipe to the program.
    fn send_events(&self, n: usize, cut: u64, sink: &mut Sink<'_>) -> io::Result<bool> {
        let result = loop {
            let waits = |state: &mut super::State| {
                let held = state.watches.held;
                let pipe = state.watches.pipe(n);
                let quiet = |pipe: &mut Pipe| pipe.overtaking.is_empty() && (held || pipe.waiting.is_empty() && pipe.over.is_none());
                pipe.is_some_and(quiet) && state.watches.cut == cut && !state.closing
            };
            let mut state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
            if state.watches.cut != cut || state.closing {
                break Ok(false);
            }
            let Some(pipe) = state.watches.pipe(n) else { break Ok(false) };
            let Some(bytes) = pipe.overtaking.pop_front().or_else(|| pipe.waiting.pop_front()) else {
                break Ok(pipe.over.unwrap_or_default());
            };
            drop(state);
            if let Err(gone) = sink(&bytes) {
                break Err(gone);
            }
            self.note(n, |passed| passed.received += bytes.len());
        };
        self.state().watches.open.retain(|(open, _)| *open != n);
        self.note(n, |passed| passed.done = true);
        result
    }
}

impl State {
    fn pipe(&mut self, n: usize) -> Option<&mut Pipe> {
        self.open.iter_mut().find(|(open, _)| *open == n).map(|(_, pipe)| pipe)
    }
}
