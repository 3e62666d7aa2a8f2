//! One exchange over HTTP: the ureq agent (`wire`), its time limits (`limits`), TLS around its socket (`tls`), and what is on its way (`buffers`).
//!
//! The environment must never be read here, and no redirect followed.

mod buffers;
pub(crate) mod limits;
mod tls;
mod wire;

pub(crate) use tls::{TlsError, TlsMaterial, Verification, bare, system_roots};
pub(crate) use wire::{Route, Wire};
