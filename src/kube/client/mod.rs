//! Requests to the API server: as their callers name them (`call`), sent (`send`) and repeated (`retry`), and their errors (`error`,
//! `status`).
//!
//! A write that the server may have acted on must never be repeated.

mod call;
mod error;
mod retry;
mod send;
mod status;

pub use call::{Call, Content, Detail, Observation, Operation, Verb};
pub(crate) use error::failure;
pub use error::{ApiError, DecodeError, Failure, TransportError, error_chain};
pub(crate) use retry::BACKOFF;
pub(crate) use send::OBJECT_BYTES_MAX;
pub use send::{Client, ConnectError};
pub use status::{ApiStatus, Cause, Details};
