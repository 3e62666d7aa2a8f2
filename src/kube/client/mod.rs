//! One request to the API server: as its caller names it (`call`), sent (`send`), when it is sent again (`retry`), and what went wrong
//! (`error`, `status`).
//!
//! A write that the server may have acted on must never be repeated.

mod call;
mod error;
mod retry;
mod send;
mod status;

pub use call::{Asked, Call, Content, Form, Observation, Verb};
pub(crate) use error::failure;
pub use error::{ApiError, Failure, NoAnswer, NotUnderstood, told};
pub(crate) use retry::pause;
pub use send::{Client, ConnectError};
pub(crate) use send::{OBJECT_BYTES_MAX, jitter, left};
pub use status::{ApiStatus, Cause, Details};
