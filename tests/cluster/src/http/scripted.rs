//! A server whose answers a test scripts, request by request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use super::{Reply, Request, Server};

/// Server that records its requests and answers each by a script.
pub struct Scripted {
    server: Server,
    received: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Starts a server on a port of 127.0.0.1. `script` answers the n-th request, counted from 0.
    pub fn start(tls: Option<Arc<ServerConfig>>, script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let received = Arc::<Mutex<Vec<Request>>>::default();
        let record = Arc::clone(&received);
        let handler = move |request: &Request| {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            let number = record.len();
            record.push(request.clone());
            drop(record);
            script(number, request)
        };
        Self { server: Server::start(tls, Arc::new(handler)).expect("a port of 127.0.0.1"), received }
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the URL of the server, without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the requests so far.
    pub fn received(&self) -> Vec<Request> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
