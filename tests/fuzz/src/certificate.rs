//! A certificate and a key in PEM, parted by a line `=`: as a pair that is served, and as a CA that signs.

use std::collections::BTreeSet;
use std::error::Error;

use jiff::Timestamp;
use reboot_manager::certificate::{Authority, Loaded};
use reboot_manager::cluster::{KeyPem, Pair};
use reboot_manager::kube::error_chain;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (certificate, key) = text.split_once("\n=\n").unwrap_or((&text, ""));
    let pair = Pair { certificate: certificate.to_owned(), key: KeyPem::new(key.to_owned()) };
    if let Err(error) = Loaded::of(&pair) {
        shows_no_key(&error, key, certificate);
    }
    let now = Timestamp::from_second(1_790_000_000).expect("a moment");
    let wanted = BTreeSet::from(["10.0.0.78".to_owned(), "reboot-manager.reboot-manager.svc".to_owned()]);
    match Authority::load(&pair) {
        Err(error) => shows_no_key(&error, key, certificate),
        Ok(authority) => {
            assert!(Loaded::of(&pair).is_ok());
            let _ = authority.examine(&pair, &wanted, now).expect("what was loaded can be examined");
            match authority.issue(&wanted, now) {
                Ok(issued) => assert_eq!(authority.examine(&issued, &wanted, now).expect("it is readable"), None),
                Err(error) => shows_no_key(&error, key, certificate),
            }
        }
    }
}

fn shows_no_key(error: &dyn Error, key: &str, certificate: &str) {
    let shown = format!("{error:?} {}", error_chain(error));
    // The fuzzer writes our own sentences into its inputs; those have spaces.
    let is_secret = |line: &&str| line.len() >= LINE && !line.starts_with('-') && !line.contains(' ') && !certificate.contains(*line);
    for line in key.lines().filter(is_secret) {
        assert!(!shown.contains(line), "{shown}");
    }
}

/// As many characters of a key are not found by chance.
const LINE: usize = 16;
