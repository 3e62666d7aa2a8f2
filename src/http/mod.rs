//! The FleetLock port and the ops port, each with tiny_http behind a listener of this program.
//!
//! `listeners` accepts, `connections` is the table of what is open, `connection` reads one request (`head`) under one
//! deadline, `handoff` takes the request to tiny_http and brings the answer back, `workers` answer. Nothing here knows
//! Kubernetes: the `coordinator` decides.

mod auth_file;
mod connection;
mod connection_limit;
mod connections;
mod handoff;
pub mod head;
mod listeners;
mod ops;
mod routes;
mod workers;

pub use auth_file::AuthFile;
pub use connection_limit::connection_limits;
pub use handoff::{Client, Peer};
pub use head::Sizes;
pub use listeners::{Listener, ListenerLimits};
pub use ops::Ops;
pub use routes::Routes;
