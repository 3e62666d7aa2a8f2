//! The `Authorization` headers of a request, one a line.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reboot_manager::access::{Credentials, presented};

const PAIR: &str = "workers:päss:word";

pub(crate) fn run(input: &[u8]) {
    static KNOWN: OnceLock<Credentials> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let text = "credentials:\n  - {user: workers, password: 'päss:word', groups: [default]}\n";
        Credentials::parse(text, &[7; 32]).expect("credentials")
    });
    let text = String::from_utf8_lossy(input);
    match presented(known, text.lines()) {
        Continue(credential) => {
            assert_eq!(credential.user, "workers");
            assert_eq!(text.lines().count(), 1, "of two headers one was taken");
            let packed = text.split_whitespace().last().expect("a word");
            assert_eq!(BASE64_STANDARD.decode(packed).expect("base64"), PAIR.as_bytes());
        }
        Break(refused) => {
            assert_eq!(refused.kind.status(), 401);
            assert!(refused.message.len() < 200, "{refused:?}");
        }
    }
}
