//! The FleetLock port and the ops port, each with tiny_http behind a listener of this program.
//!
//! `listeners` accepts, `connections` is the table of open connections (`places` has its rules), and `connection` reads one request
//! (`head`) under one deadline. A probe is answered at once. `handoff` passes any other request to tiny_http in its turn
//! (`turns`) and returns the answer; `workers` call `routes` or `ops`. The `coordinator` decides,
//! and `answers` logs.

mod answers;
mod auth_file;
mod connection;
mod connection_limit;
mod connections;
mod handoff;
pub mod head;
mod listeners;
mod ops;
mod places;
mod routes;
mod tls_failures;
mod turns;
mod workers;

pub(crate) use auth_file::AuthFile;
pub(crate) use connection_limit::connection_limits;
pub use handoff::Client;
pub use head::Sizes;
pub use listeners::{Listener, ListenerLimits};
pub(crate) use ops::Ops;
pub(crate) use routes::Routes;
