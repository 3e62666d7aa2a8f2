//! Requests to the API server: their description (`call`), sending (`send`), retries (`retry`), and errors (`error`, `status`).
//!
//! A write that the server may have acted on must never be repeated.

mod call;
mod error;
mod retry;
mod send;
mod status;

pub use call::Observation;
pub(crate) use call::{Call, Verb};
#[cfg(test)]
pub(crate) use error::TransportError;
pub use error::{ApiError, error_chain};
pub(crate) use error::{DecodeError, Failure, failure};
pub(crate) use retry::BACKOFF;
pub use send::Client;
pub(crate) use send::OBJECT_BYTES_MAX;
pub use status::ApiStatus;
