//! Keys and certificates that are made for one run and thrown away with it.

use std::fs;
use std::path::Path;

use rcgen::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};

use crate::certificate::Authority;

/// Certificate of the authority.
pub(super) const AUTHORITY: &str = "ca.crt";

/// Certificate of every server on loopback, and its key.
pub(super) const SERVER: &str = "server.crt";
pub(super) const SERVER_KEY: &str = "server.key";

/// Keys that sign and verify the tokens of ServiceAccounts.
pub(super) const ACCOUNTS_KEY: &str = "accounts.key";
pub(super) const ACCOUNTS_PUBLIC_KEY: &str = "accounts.pub";

/// Static tokens: the administrator's.
pub(super) const TOKENS: &str = "tokens.csv";

#[derive(Debug)]
pub(super) struct Credentials {
    /// Certificate of the authority, in PEM.
    pub(super) authority_pem: String,
    /// Token of a member of `system:masters`.
    pub(super) admin_token: String,
}

impl Credentials {
    /// Creates new credentials and writes their files into `folder`.
    pub(super) fn make(folder: &Path) -> Self {
        let write = |name: &str, content: &str| fs::write(folder.join(name), content).expect("a writable folder for the keys");
        let authority = Authority::new();
        let server = authority.issue(&["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]);
        let account = KeyPair::generate().expect("a key pair");
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).expect("random bytes");
        let admin_token = format!("{:032x}", u128::from_be_bytes(random));
        write(AUTHORITY, &authority.pem());
        write(SERVER, &server.pem);
        write(SERVER_KEY, &server.key_pem);
        write(ACCOUNTS_KEY, &account.serialize_pem());
        write(ACCOUNTS_PUBLIC_KEY, &account.public_key_pem());
        write(TOKENS, &format!("{admin_token},admin,admin,\"system:masters\"\n"));
        Self { authority_pem: authority.pem(), admin_token }
    }
}
