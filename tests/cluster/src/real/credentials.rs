//! Keys and certificates that are made for one run and thrown away with it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;

use crate::certificate::Authority;

/// The administrator's token, and the files of the keys.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The certificate of the authority behind [`Credentials::certificate`], in PEM.
    pub(super) authority_pem: String,
    pub(super) authority: PathBuf,
    /// Certificate of every server on loopback.
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Key that signs the tokens of ServiceAccounts.
    pub(super) account_key: PathBuf,
    /// Key that verifies the tokens of ServiceAccounts.
    pub(super) account_public_key: PathBuf,
    /// Token of a member of `system:masters`.
    pub(super) admin_token: String,
    pub(super) tokens: PathBuf,
}

impl Credentials {
    /// Creates new credentials and writes them into `folder`.
    pub(super) fn make(folder: &Path) -> Self {
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).expect("a writable folder for the keys");
            path
        };
        let authority = Authority::new();
        let server = authority.issue(&["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]);
        let account = KeyPair::generate().expect("a key pair");
        let admin_token = random_word();
        Self {
            authority_pem: authority.pem(),
            authority: write("ca.crt", &authority.pem()),
            certificate: write("server.crt", &server.pem),
            key: write("server.key", &server.key_pem),
            account_key: write("accounts.key", &account.serialize_pem()),
            account_public_key: write("accounts.pub", &account.public_key_pem()),
            tokens: write("tokens.csv", &format!("{admin_token},admin,admin,\"system:masters\"\n")),
            admin_token,
        }
    }
}

/// Returns 128 random bits in hexadecimal.
fn random_word() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).expect("random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
