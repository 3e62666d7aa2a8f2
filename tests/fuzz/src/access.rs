//! Credentials: the file of them, and the `Authorization` headers of a request.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reboot_manager::access::{Credentials, presented};
use serde_json::Value;

/// Password of the files of the corpora.
pub(crate) const PASSWORD: &str = "hunter2hunter2";

const PAIR: &str = "workers:päss:word";

static KNOWN: LazyLock<Credentials> = LazyLock::new(|| {
    let text = "credentials:\n  - {user: workers, password: 'päss:word', groups: [default]}\n";
    Credentials::parse(text, &[7; 32]).expect("credentials")
});

/// Reads the `Authorization` headers of a request, one a line.
pub(crate) fn basic(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match presented(&KNOWN, text.lines()) {
        Continue(credential) => {
            assert_eq!(credential.user, "workers");
            assert_eq!(text.lines().count(), 1, "one of two headers was accepted");
            let packed = text.split_whitespace().last().expect("a word");
            assert_eq!(BASE64_STANDARD.decode(packed).expect("base64"), PAIR.as_bytes());
        }
        Break(refused) => {
            assert_eq!(refused.kind.status(), 401);
            assert!(refused.message.len() < 200, "{refused:?}");
        }
    }
}

/// Reads the file of credentials; another YAML reader must find the same entries, and no output may show a password.
pub(crate) fn credentials(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Credentials::parse(&text, &[1; 32]) {
        Ok(credentials) => {
            assert!(credentials.count() > 0);
            let lists: Value = serde_saphyr::from_str(&text).expect("the same YAML");
            let entries = lists["credentials"].as_array().expect("a list");
            assert_eq!(entries.len(), credentials.count());
            for entry in entries {
                // Without quotes a number is a number for this reader, and an error for ours.
                if let (Some(user), Some(password)) = (entry["user"].as_str(), entry["password"].as_str()) {
                    let found = credentials.find(format!("{user}:{password}").as_bytes()).expect("a listed user is known");
                    assert_eq!(found.user, user);
                }
            }
            // A password that is also a user's name or a group may be shown.
            let public = |entry: &Value| ["user", "groups", "nodes"].iter().any(|key| entry[key].to_string().contains(PASSWORD));
            let shown = format!("{credentials:?}");
            assert!(!shown.contains(PASSWORD) || entries.iter().any(public), "{shown}");
            assert!(credentials.find(b"unlisted:listed-here-ever").is_none() || text.contains("unlisted"));
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.chars().count() < 1000 && !shown.contains(PASSWORD), "{shown}");
        }
    }
}
