//! Authentication and authorization: known callers, the groups and nodes each may act for, and the check that a request comes
//! from its node.
//!
//! Pure: `http` reads the file, `coordinator` reads Nodes. No password is kept, so none can be shown.
//!
//! Specification: HTTP Basic, RFC 7617, the only method of Zincati (from the user information of its `base_url`).

mod basic;
mod client_network;
mod credentials;
mod file;
mod permit;
mod source;

pub(crate) use basic::CHALLENGE;
pub use basic::presented;
pub use client_network::ClientNetwork;
pub use credentials::Credentials;
pub use file::FileError;
pub use permit::{Credential, Origin, Permit};
pub use source::{VerifySource, verify};
