//! The FleetLock protocol: a request's bytes in, a reply out, and the fleet in which an id identifies a node.
//!
//! Pure: the module knows neither sockets nor Kubernetes calls. The protocol is that of
//! <https://coreos.github.io/zincati/development/fleetlock/protocol/>; what real clients send differs here and there
//! from its text, and is noted where it matters.

mod fleet;
mod identity;
mod reply;
mod request;

pub use fleet::{Fleet, Found, NodeRef, WatchError};
pub use identity::{answers_to, zincati_id};
pub use reply::{Kind, Refusal, Reply};
pub use request::{Endpoint, GroupName, Head, Request, endpoint, parse};
