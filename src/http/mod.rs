//! The world outside: the FleetLock port and the ops port, both over tiny_http with a fixed number of threads.
//!
//! Nothing here knows Kubernetes; requests go to the `coordinator`.

mod auth_file;
mod ops;
mod routes;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tiny_http::{Header, Response, Server};

pub use auth_file::{AuthFile, AuthFileError};
pub use ops::Ops;
pub use routes::FleetLock;

/// Listens. Where the kernel has no IPv6, the unspecified address of IPv6 means that of IPv4.
fn listen(address: SocketAddr) -> io::Result<Arc<Server>> {
    let listener = TcpListener::bind(address).or_else(|error| match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_also| error),
        _ => Err(error),
    })?;
    Server::from_listener(listener, None).map(Arc::new).map_err(io::Error::other)
}

/// Starts `count` threads that each take requests from `server` until it is unblocked.
fn serve(
    server: &Arc<Server>,
    name: &str,
    count: usize,
    handle: impl Fn(tiny_http::Request) + Send + Sync + 'static,
) -> io::Result<Vec<std::thread::JoinHandle<()>>> {
    let handle = Arc::new(handle);
    (0..count)
        .map(|_| {
            let (server, handle) = (Arc::clone(server), Arc::clone(&handle));
            let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(crate::coordinator::STACK_BYTES);
            thread.spawn(move || {
                while let Ok(request) = server.recv() {
                    handle(request);
                }
            })
        })
        .collect()
}

/// An answer with a body of one type.
fn response(status: u16, content: &str, body: String) -> Response<io::Cursor<Vec<u8>>> {
    let response = Response::from_string(body).with_status_code(status);
    match Header::from_bytes("Content-Type", content) {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}
