//! One exchange over HTTP: the ureq agent (`wire`), its time limits (`limits`), TLS around its socket (`tls`), the check of the server's
//! certificate (`trust`), errors of both (`tls_error`), and what is on its way (`buffers`).
//!
//! The environment must never be read here, and no redirect followed.

mod buffers;
pub(crate) mod limits;
mod tls;
mod tls_error;
mod trust;
mod wire;

pub(crate) use tls::{TlsMaterial, Verification, bare, system_roots};
pub(crate) use tls_error::TlsError;
pub(crate) use wire::{Route, Wire};
