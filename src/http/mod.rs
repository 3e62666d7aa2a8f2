//! The world outside: the FleetLock port and the ops port. Each is a door of our own with tiny_http behind it.
//!
//! `listener` accepts, `guests` keeps count, `intake` reads one request (`head`) under one deadline, `handoff` takes it
//! to tiny_http and the answer back, a `crew` of threads answers. Nothing here knows Kubernetes; requests go to the `coordinator`.

mod auth_file;
mod crew;
mod descriptors;
mod guests;
mod handoff;
pub mod head;
mod intake;
mod listener;
mod ops;
mod routes;

use std::io;

use tiny_http::{Header, Response};

pub use auth_file::{AuthFile, AuthFileError};
pub use descriptors::own_share;
pub use handoff::{Client, Peer};
pub use head::Sizes;
pub use listener::{Door, DoorLimits};
pub use ops::Ops;
pub use routes::{FleetLock, Routes};

/// An answer with a body of one type.
fn response(status: u16, content: &str, body: String) -> Response<io::Cursor<Vec<u8>>> {
    let response = Response::from_string(body).with_status_code(status);
    match Header::from_bytes("Content-Type", content) {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}
