//! One exchange over HTTP: the ureq agent (`wire`), TLS around its socket (`tls`), and what is on its way (`buffers`).
//!
//! The environment must never be read here, and no redirect followed.

mod buffers;
mod tls;
mod wire;

pub(crate) use tls::{TlsError, TlsMaterial, Verification, system_roots};
pub use wire::Limits;
pub(crate) use wire::{Route, Wire};
