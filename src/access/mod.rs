//! Authentication and authorization: which caller is known, which groups and nodes a caller may act for, and whether a
//! request comes from its node.
//!
//! Pure: `http` reads the file, `coordinator` reads Nodes. No password is kept, and nothing here can show one.
//!
//! Specification: HTTP Basic, RFC 7617. Zincati can send nothing else (from the user information of its `base_url`).

mod basic;
mod credentials;
mod file;
mod permit;
mod source;

pub use basic::{CHALLENGE, presented};
pub use credentials::{Credentials, Secret};
pub use file::Mistake;
pub use permit::{Credential, Origin, Permit};
pub use source::{VerifySource, verify};
